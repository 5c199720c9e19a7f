from sslm_platform.testing import parametrize_with_checks


@parametrize_with_checks("huber", options={"delta": 0.5})
def test_huber(check):
    check()


@parametrize_with_checks("bounded_regressor", options={"low": -4, "high": 4})
def test_bounded_regressor(check):
    check()


@parametrize_with_checks("mean_absolute_error")
def test_mean_absolute_error(check):
    check()
