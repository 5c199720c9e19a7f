from sslm_platform.testing import parametrize_with_checks


@parametrize_with_checks("teacher_forcing")
def test_teacher_forcing(check):
    check()


@parametrize_with_checks("decoder")
def test_decoder(check):
    check()


@parametrize_with_checks("decoder", options={"decoding": {"beams": 3, "no_repeat": 2}, "layers": 1})
def test_decoder_with_beams(check):
    check()


@parametrize_with_checks("decoder", options={"decoding": {"top_p": 0.9}, "width": 12, "heads": 3})
def test_decoder_that_samples(check):
    check()
