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


@parametrize_with_checks("annealed")
def test_annealed(check):
    check()


@parametrize_with_checks("round_robin")
def test_round_robin(check):
    check()


@parametrize_with_checks("static", "sampler", options={"ratios": {"*@tweets": 2.0, "addresses": 0.5}})
def test_static_sampler(check):
    check()


@parametrize_with_checks(
    "sequential",
    options={"stages": [{"feeds": ["tweets"]}, {"feeds": ["mlm@*"], "share": 3.0}], "replay": 0.1},
)
def test_sequential(check):
    check()


@parametrize_with_checks("dev_gap", options={"references": {"sentiment@*": 0.8}})
def test_dev_gap(check):
    check()


@parametrize_with_checks("doremi", options={"reference_losses": {"*": 0.5}})
def test_doremi(check):
    check()


@parametrize_with_checks("exp3s", options={"rate": 0.1})
def test_exp3s(check):
    check()


@parametrize_with_checks("equal")
def test_equal(check):
    check()


@parametrize_with_checks("static", "balancer", options={"weights": {"*@tweets": 2.0, "mlm@*": 0.1}})
def test_static(check):
    check()


@parametrize_with_checks("uncertainty", options={"lr": 0.2})
def test_uncertainty(check):
    check()


@parametrize_with_checks("dwa", options={"window": 4})
def test_dwa(check):
    check()


@parametrize_with_checks("random")
def test_random(check):
    check()


@parametrize_with_checks("geometric")
def test_geometric(check):
    check()


@parametrize_with_checks("famo", options={"lr": 0.3})
def test_famo(check):
    check()
