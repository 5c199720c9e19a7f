from sslm_platform.testing import parametrize_with_checks


@parametrize_with_checks("cross_entropy")
def test_cross_entropy(check):
    check()


@parametrize_with_checks("cross_entropy", options={"label_smoothing": 0.1})
def test_smoothed_cross_entropy(check):
    check()


@parametrize_with_checks("mse", kind="objective")
def test_mse(check):
    check()


@parametrize_with_checks("mlm")
def test_mlm(check):
    check()


@parametrize_with_checks("mlm", options={"mask_prob": 1.0, "replace_prob": 0.0, "random_prob": 1.0})
def test_all_random_mlm(check):
    check()


@parametrize_with_checks("cross_entropy", options={"class_weights": "balanced", "focal_gamma": 2.0})
def test_weighted_focal_cross_entropy(check):
    check()


@parametrize_with_checks("binary_cross_entropy", options={"positive_weights": "balanced", "focal_gamma": 1.0})
def test_binary_cross_entropy(check):
    check()


@parametrize_with_checks("clm")
def test_clm(check):
    check()


@parametrize_with_checks("prefix_lm")
def test_prefix_lm(check):
    check()


@parametrize_with_checks("mlm", options={"unit": "word"})
def test_whole_word_mlm(check):
    check()


@parametrize_with_checks("mlm", options={"unit": "span"})
def test_span_mlm(check):
    check()


@parametrize_with_checks("span_cross_entropy")
def test_span_cross_entropy(check):
    check()


@parametrize_with_checks("fgm")
def test_fgm(check):
    check()


@parametrize_with_checks("pgd")
def test_pgd(check):
    check()


@parametrize_with_checks("freelb")
def test_freelb(check):
    check()


@parametrize_with_checks("smart")
def test_smart(check):
    check()


@parametrize_with_checks("r_drop")
def test_r_drop(check):
    check()


@parametrize_with_checks("sop")
def test_sop(check):
    check()


@parametrize_with_checks("nsp")
def test_nsp(check):
    check()


@parametrize_with_checks("rtd")
def test_rtd(check):
    check()


@parametrize_with_checks("simcse")
def test_simcse(check):
    check()


@parametrize_with_checks("cpc", options={"segment_tokens": 2})
def test_cpc(check):
    check()


@parametrize_with_checks("future_regression", options={"segment_tokens": 2, "steps_ahead": 2})
def test_future_regression(check):
    check()


@parametrize_with_checks("multiple_negatives")
def test_multiple_negatives(check):
    check()


@parametrize_with_checks("choice_cross_entropy")
def test_choice_cross_entropy(check):
    check()
