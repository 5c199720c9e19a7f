from sslm_platform.baselines import copied, lead


def test_lead_is_the_first_sentence_in_any_writing():
    assert lead(" Dr. no stop! Second.") == "Dr."
    assert lead("Version 1.5 is out. Get it.") == "Version 1.5 is out."
    assert lead("第一句。第二句。") == "第一句。"
    assert lead("A title\nand a text") == "A title"
    assert lead("") == ""
    assert copied("a b\nc") == "a b\nc"
