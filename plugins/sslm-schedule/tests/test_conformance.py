from sslm_platform.testing import parametrize_with_checks


@parametrize_with_checks("uniform")
def test_uniform(check):
    check()


@parametrize_with_checks("proportional")
def test_proportional(check):
    check()


@parametrize_with_checks("temperature", options={"temperature": 0.01})
def test_cold_temperature(check):
    check()


@parametrize_with_checks("equal")
def test_equal(check):
    check()


@parametrize_with_checks("static", options={"weights": {"*@tweets": 2.0, "mlm@*": 0.1}})
def test_static(check):
    check()
