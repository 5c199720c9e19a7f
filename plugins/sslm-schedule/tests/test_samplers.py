import numpy as np
import pytest
from pydantic import ValidationError
from sslm_schedule.samplers.dev_gap import DevGap, DevGapOptions, check_references
from sslm_schedule.samplers.doremi import DoReMi, DoReMiOptions, check_reference_losses
from sslm_schedule.samplers.exp3s import Exp3S, Exp3SOptions
from sslm_schedule.samplers.order import (
    RoundRobin,
    Sequential,
    SequentialOptions,
    StaticRatio,
    StaticRatioOptions,
    check_ratios,
    check_stages,
)
from sslm_schedule.samplers.sizes import (
    Annealed,
    AnnealedOptions,
    CapOptions,
    Proportional,
    Temperature,
    TemperatureOptions,
    Uniform,
)

from sslm_platform.api import DevScore, Observation, SamplingState

TASKS = {"a": ("x@d1", "y@d1"), "b": ("x@d2",), "c": ("z@d2",)}


def state(step=0, num_steps=10, memory=None, **more):
    return SamplingState(
        step, num_steps, ("a", "b", "c"), (100, 1_000, 10_000), TASKS, memory=memory or {}, **more
    )


def temperature(value, cap=None):
    return Temperature(TemperatureOptions(temperature=value, cap=cap))


@pytest.mark.parametrize(
    ("sampler", "expected"),
    [
        (temperature(2.0), [0.0706, 0.2233, 0.7061]),
        (temperature(5.0), [0.1962, 0.3110, 0.4928]),
        (temperature(2.0, cap=1_000), [0.1365, 0.4317, 0.4317]),
        (Uniform(), [1 / 3, 1 / 3, 1 / 3]),
        (Proportional(CapOptions()), [100 / 11_100, 1_000 / 11_100, 10_000 / 11_100]),
        (Proportional(CapOptions(cap=500)), [1 / 11, 5 / 11, 5 / 11]),
        (StaticRatio(StaticRatioOptions(ratios={"*": 2.0, "*@d2": 3.0, "c": 5.0})), [0.2, 0.3, 0.5]),
        (StaticRatio(StaticRatioOptions(ratios={"b": 2.0})), [0.25, 0.5, 0.25]),
    ],
)
def test_shares(sampler, expected):
    assert sampler.probabilities(state()) == pytest.approx(expected, abs=5e-5)


def test_temperature_of_one_is_proportional():
    assert np.array_equal(
        temperature(1.0).probabilities(state()), Proportional(CapOptions()).probabilities(state())
    )


def test_temperature_must_be_positive():
    with pytest.raises(ValidationError, match="greater than 0"):
        TemperatureOptions(temperature=0)


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [(1, [0.0090, 0.0901, 0.9009]), (5, [0.0402, 0.1774, 0.7824]), (10, [0.1962, 0.3110, 0.4928])],
)
def test_annealed(epoch, expected):
    sampler = Annealed(AnnealedOptions(epochs=10))
    first, last = (epoch - 1) * 30, epoch * 30 - 1
    for step in (first, last):
        assert sampler.probabilities(state(step, 300)) == pytest.approx(expected, abs=5e-5)


def test_annealed_in_fewer_steps_than_epochs_stays_in_the_paper_s_range():
    sampler = Annealed(AnnealedOptions(epochs=10))
    assert sampler.probabilities(state(0, 3)) == pytest.approx([0.0090, 0.0901, 0.9009], abs=5e-5)
    assert sampler.probabilities(state(2, 3))[0] > 0.05


def test_round_robin_goes_on_across_steps():
    slots = [state(step, slot=slot, slots_per_step=2) for step in range(3) for slot in range(2)]
    turns = [int(RoundRobin().probabilities(slot).argmax()) for slot in slots]
    assert turns == [0, 1, 2, 0, 1, 2]


def sequential(replay=0.0, **shares):
    stages = [{"feeds": [feed], "share": share} for feed, share in shares.items()]
    return Sequential(SequentialOptions(stages=stages, replay=replay))


def test_stages_share_the_steps():
    sampler = sequential(c=1.0, a=3.0)
    stages = [int(sampler.probabilities(state(step, 8)).argmax()) for step in range(8)]
    assert stages == [2, 2, 0, 0, 0, 0, 0, 0]


def test_replay_goes_to_earlier_stages_by_size():
    sampler = sequential(replay=0.22, a=1.0, b=1.0, c=1.0)
    assert sampler.probabilities(state(0, 9)) == pytest.approx([1.0, 0.0, 0.0])
    assert sampler.probabilities(state(8, 9)) == pytest.approx([0.02, 0.2, 0.78])


def test_a_stage_that_repeats_a_feed_does_not_replay_it():
    stages = [{"feeds": ["a"]}, {"feeds": ["*@d1", "b"]}]
    sampler = Sequential(SequentialOptions(stages=stages, replay=0.5))
    assert sampler.probabilities(state(9, 10)) == pytest.approx([1 / 11, 10 / 11, 0.0])


def test_stages_without_feeds_are_left_out_of_a_source_training():
    alone = SamplingState(0, 10, ("b",), (7,), {"b": TASKS["b"]})
    assert sequential(a=1.0, b=1.0).probabilities(alone) == pytest.approx([1.0])
    assert sequential(a=1.0).probabilities(alone) == pytest.approx([1.0])


@pytest.mark.parametrize(
    ("check", "options", "message"),
    [
        (check_ratios, StaticRatioOptions(ratios={"x@d3": 1.0}), "'x@d3' matches nothing; did you mean"),
        (
            check_stages,
            SequentialOptions(stages=[{"feeds": ["a"]}, {"feeds": ["q"]}]),
            "stages[1].feeds: 'q'",
        ),
        (check_references, DevGapOptions(references={"a": 0.5}), "'a' matches nothing"),
        (check_reference_losses, DoReMiOptions(reference_losses={"x@*": 1.0}), "no loss for y@d1"),
    ],
)
def test_names_that_the_run_has_not(check, options, message):
    problems = [str(problem) for problem in check(options, TASKS)]
    assert any(message in problem for problem in problems), problems


def test_dev_gap():
    sampler = DevGap(DevGapOptions(references={"z@d2": 0.6}, exploration=0.1))
    assert sampler.probabilities(state()) == pytest.approx([1 / 3] * 3)
    scores = {"x@d1": DevScore(0.6, 0.2, 1.0), "y@d1": DevScore(float("nan"), 0.0, 1.0),
              "x@d2": DevScore(40.0, 50.0, 10.0), "z@d2": DevScore(0.7, 0.2, 1.0)}  # fmt: skip
    memory = sampler.observe(state(), Observation(scores=scores))
    # gaps: a (0.5 + 1) / 2, b (10 - 40) / (10 - 50), c is past its reference
    assert memory["gaps"] == pytest.approx({"a": 0.75, "b": 0.75, "c": 0.0})
    assert sampler.probabilities(state(memory=memory)) == pytest.approx([0.45 + 1 / 30] * 2 + [1 / 30])
    assert sampler.observe(state(memory=memory), Observation(losses={"x@d1": 9.0})) == memory


def test_dev_gap_of_a_reference_below_the_constant_is_closed_once_it_is_reached():
    """A model of its own that is worse than the constant predictor is normal on small data."""
    sampler = DevGap(DevGapOptions(references={"z@d2": 0.4}))
    gaps = []
    for value in (0.3, 0.39, 0.4, 0.45, 0.9):
        scores = {"z@d2": DevScore(value, 0.5, 1.0)} | {
            task: DevScore(0.5, 0.0, 1.0) for tasks in TASKS.values() for task in tasks if task != "z@d2"
        }
        gaps.append(sampler.observe(state(), Observation(scores=scores))["gaps"]["c"])
    assert gaps == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_dev_gap_is_even_when_nothing_is_left_to_learn():
    sampler = DevGap(DevGapOptions())
    scores = {task: DevScore(1.0, 0.2, 1.0) for tasks in TASKS.values() for task in tasks}
    memory = sampler.observe(state(), Observation(scores=scores))
    assert sampler.probabilities(state(memory=memory)) == pytest.approx([1 / 3] * 3)


def doremi_by_the_paper(excess_SF, rate, smoothing):
    """Algorithm 1 of the paper, in its own order."""
    alpha = np.full(3, 1 / 3)
    for excess in excess_SF:
        raised = alpha * np.exp(rate * np.maximum(excess, 0.0))
        alpha = (1 - smoothing) * raised / raised.sum() + smoothing / 3
    return alpha


def test_doremi():
    sampler = DoReMi(DoReMiOptions(reference_losses={"*": 1.0, "z@*": 2.0}, rate=0.5, smoothing=0.01))
    memory = {}
    excess_SF = [[0.5, 0.1, -1.0], [0.3, 0.4, 0.2], [-0.2, 0.6, 0.1]]
    for step, (a, b, c) in enumerate(excess_SF):
        # the tasks of feed a differ: their mean counts
        losses = {"x@d1": 1 + 2 * a, "y@d1": 1.0, "x@d2": 1 + b, "z@d2": 2 + c}
        seen = Observation({"a": 1, "b": 1, "c": 1}, losses)
        memory = sampler.observe(state(step, memory=memory), seen)
    expected = doremi_by_the_paper(np.array(excess_SF), 0.5, 0.01)
    assert sampler.probabilities(state(memory=memory)) == pytest.approx(expected)


def test_doremi_keeps_the_last_excess_of_a_feed_that_was_not_drawn():
    sampler = DoReMi(DoReMiOptions(reference_losses={"*": 1.0}, rate=1.0, smoothing=1e-9))
    memory = sampler.observe(state(), Observation({"a": 1}, {"x@d1": 2.0, "y@d1": 2.0}))
    assert sampler.probabilities(state(memory=memory)) == pytest.approx([1 / 3] * 3)
    memory = sampler.observe(state(memory=memory), Observation({"b": 1, "c": 1}, {"x@d2": 1.0, "z@d2": 1.5}))
    raised = np.exp([1.0, 0.0, 0.5])
    assert sampler.probabilities(state(memory=memory)) == pytest.approx(raised / raised.sum())


def test_doremi_stays_finite():
    sampler = DoReMi(DoReMiOptions(reference_losses={"*": 0.0}, rate=5.0, smoothing=1e-12))
    memory = {}
    for step in range(400):
        losses = {"x@d1": 9.0, "y@d1": 9.0, "x@d2": 0.0, "z@d2": 0.0}
        memory = sampler.observe(state(step, memory=memory), Observation({"a": 1, "b": 1, "c": 1}, losses))
        assert np.isfinite(sampler.probabilities(state(memory=memory))).all()


def exp3s_by_the_paper(weights, rewards, policy, rate, share):
    """Equation 6 of the paper, term by term."""
    gains = [w + rate * r / p for w, r, p in zip(weights, rewards, policy, strict=True)]
    n = len(weights)
    return [
        np.log(
            (1 - share) * np.exp(g) + share / (n - 1) * sum(np.exp(x) for j, x in enumerate(gains) if j != i)
        )
        for i, g in enumerate(gains)
    ]


def test_exp3s():
    sampler = Exp3S(Exp3SOptions(rate=0.1, exploration=0.05))
    memory, weights = {}, [0.0, 0.0, 0.0]
    history = []
    last = {}
    drawn = ["a", "b", "c", "a", "b", "a", "c", "b"]
    losses = [3.0, 2.0, 1.0, 2.5, 2.1, 2.4, 0.2, 2.0]
    updates = 0
    for step, (feed, loss) in enumerate(zip(drawn, losses, strict=True)):
        policy = sampler.probabilities(state(step, memory=memory))
        softmax = np.exp(weights) / np.exp(weights).sum()
        assert policy == pytest.approx(0.95 * softmax + 0.05 / 3)
        own = {task: loss / len(TASKS[feed]) for task in TASKS[feed]}
        memory = sampler.observe(state(step, memory=memory), Observation({feed: 1}, own))
        if feed in last:
            history.append(last[feed] - loss)
            updates += 1
            low, high = np.quantile(history, [0.2, 0.8])
            reward = np.clip(2 * (history[-1] - low) / (high - low) - 1, -1, 1) if high > low else 0.0
            rewards = [reward * (f == feed) for f in ("a", "b", "c")]
            weights = exp3s_by_the_paper(weights, rewards, policy, 0.1, 1 / (1 + updates))
        last[feed] = loss
    assert updates == 5
    assert np.ptp(sampler.probabilities(state(memory=memory))) > 0.01


def test_exp3s_learns_of_a_feed_whose_steps_have_one_of_its_tasks_each():
    sampler, memory = Exp3S(Exp3SOptions(rate=0.1)), {}
    for step in range(40):
        task = ("x@d1", "y@d1")[step % 2]
        memory = sampler.observe(state(step, memory=memory), Observation({"a": 1}, {task: 9.0 - 0.2 * step}))
    assert memory["updates"] == 38  # each task's first loss has nothing before it
    assert memory["losses"].keys() == {"x@d1", "y@d1"}


def test_exp3s_turns_to_the_feed_that_is_learned():
    """Feed c alone gets better; after 600 steps it is drawn most."""
    sampler, memory, loss = Exp3S(Exp3SOptions(rate=0.05)), {}, 50.0
    generator = np.random.default_rng(0)
    for step in range(600):
        probabilities = sampler.probabilities(state(step, 600, memory))
        feed = "abc"[int(generator.choice(3, p=probabilities))]
        loss -= 0.1 * (feed == "c")
        losses = {"a": {"x@d1": 1.0, "y@d1": 1.0}, "b": {"x@d2": 3.0}, "c": {"z@d2": loss}}[feed]
        losses = {task: value + generator.normal(0, 0.01) for task, value in losses.items()}
        memory = sampler.observe(state(step, 600, memory), Observation({feed: 1}, losses))
    assert sampler.probabilities(state(memory=memory)).argmax() == 2
    assert len(memory["progress"]) == memory["seen"] < 1000


def test_exp3s_reservoir_is_bounded():
    sampler, memory = Exp3S(Exp3SOptions()), {}
    for step in range(1100):
        memory = sampler.observe(state(step, memory=memory), Observation({"b": 1}, {"x@d2": float(step % 9)}))
    assert len(memory["progress"]) == 1000
    assert memory["seen"] == 1099
