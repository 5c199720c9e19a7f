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


@parametrize_with_checks("span_corruption")
def test_span_corruption(check):
    check()


@parametrize_with_checks("denoising")
def test_denoising(check):
    check()


@parametrize_with_checks("denoising", options={"infill": 0.0, "delete": 0.3, "permute": False})
def test_denoising_by_deletion(check):
    check()


@parametrize_with_checks("unilm")
def test_unilm(check):
    check()


@parametrize_with_checks("unilm", options={"decoding": {"beams": 3, "no_repeat": 2}})
def test_unilm_with_beams(check):
    check()
