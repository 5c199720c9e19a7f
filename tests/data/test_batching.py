import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslm_platform.data.batching import ExampleGenerators, collate_inputs, example_generator, plan_batches
from sslm_platform.interfaces import Encoded

lengths = st.lists(st.integers(1, 60), max_size=300).map(lambda x: np.array(x, dtype=np.int64))
budgets = st.integers(8, 400)


@given(lengths, budgets, st.integers(0, 9))
def test_every_example_is_in_one_batch_and_the_budget_is_kept(lengths_N, budget, epoch):
    batches = plan_batches(lengths_N, budget, (1, epoch))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths_N)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * lengths_N[batch].max() <= budget


@given(lengths, budgets, st.randoms(use_true_random=False))
def test_groups_are_never_mixed_in_a_batch(lengths_N, budget, random):
    group_N = np.array([random.randrange(3) for _ in lengths_N], dtype=np.int64)
    batches = plan_batches(lengths_N, budget, (1,), group_N)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths_N)))
    for batch in batches:
        assert len(set(group_N[batch].tolist())) == 1
        assert len(batch) == 1 or len(batch) * lengths_N[batch].max() <= budget
    one = plan_batches(lengths_N, budget, (1,), np.zeros_like(group_N))
    assert [b.tolist() for b in one] == [b.tolist() for b in plan_batches(lengths_N, budget, (1,))]


@given(lengths, budgets, st.randoms(use_true_random=False))
def test_rows_of_an_example_count_in_the_budget(lengths_N, budget, random):
    number_N = np.array([random.randrange(1, 5) for _ in lengths_N], dtype=np.int64)
    batches = plan_batches(lengths_N, budget, (1,), number_N=number_N)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths_N)))
    for batch in batches:
        assert len(batch) == 1 or number_N[batch].sum() * lengths_N[batch].max() <= budget
    one = plan_batches(lengths_N, budget, (1,), number_N=np.ones_like(number_N))
    assert [b.tolist() for b in one] == [b.tolist() for b in plan_batches(lengths_N, budget, (1,))]


@given(lengths, budgets)
def test_a_plan_is_a_pure_function_of_its_arguments(lengths_N, budget):
    np.random.seed(0)
    first = plan_batches(lengths_N, budget, (3, 1, 4))
    again = plan_batches(lengths_N.copy(), budget, (3, 1, 4))
    assert [b.tolist() for b in first] == [b.tolist() for b in again]


def test_epochs_differ_and_little_is_padding():
    lengths_N = np.clip(np.random.default_rng(0).lognormal(3, 0.6, 5000).astype(np.int64), 3, 87)
    first, second = (plan_batches(lengths_N, 2048, (1, epoch)) for epoch in (0, 1))
    assert [b.tolist() for b in first] != [b.tolist() for b in second]
    padded = sum(len(b) * lengths_N[b].max() for b in first)
    assert lengths_N.sum() / padded > 0.9
    means = [lengths_N[b].mean() for b in first]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3  # batches are not left sorted by length


def example(ids: list[int], segment: list[int] | None = None) -> Encoded:
    ids_L = np.array(ids)
    return Encoded(ids_L, np.zeros(len(ids), bool), {}, None if segment is None else np.array(segment))


def test_collate_pads_on_the_right_with_the_pad_id():
    inputs = collate_inputs([example([5, 6, 7], [0, 1, 1]), example([8], [0])], None, pad_id=9)
    assert inputs.input_ids_BL.tolist() == [[5, 6, 7], [8, 9, 9]]
    assert inputs.mask_BL.tolist() == [[True, True, True], [True, False, False]]
    assert inputs.segment_BL.tolist() == [[0, 1, 1], [0, 0, 0]]


def test_collate_takes_the_ids_of_an_objective_that_changes_them():
    inputs = collate_inputs([example([5, 6])], [np.array([1, 2])], pad_id=0)
    assert inputs.input_ids_BL.tolist() == [[1, 2]]
    assert inputs.segment_BL is None


def test_generators_repeat_and_differ_in_every_part_of_the_key():
    keys = [(1, 2, 3), (2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1), (1, 2, 2**64 - 1)]
    draws = [tuple(example_generator(*key).random(4)) for key in keys]
    assert draws == [tuple(example_generator(*key).random(4)) for key in keys]
    assert len(set(draws)) == len(keys)


def test_passes_over_one_example_are_uncorrelated():
    draws = np.array([example_generator(0, epoch, 7).random(2000) for epoch in range(5)])
    off_diagonal = np.corrcoef(draws)[~np.eye(5, dtype=bool)]
    assert np.abs(off_diagonal).max() < 0.1


def test_generators_of_many_examples_are_theirs_and_go_on():
    keys_B = np.array([3, 2**64 - 1, 3], dtype=np.uint64)
    generators = ExampleGenerators((7, 2), keys_B, stream=1)
    assert len(generators) == 3
    expected = [example_generator(7, 2, int(key), 1).random(2).tolist() for key in keys_B]
    assert [rng.random() for rng in generators] == [first for first, _ in expected]
    assert [rng.random() for rng in generators[:]] == [second for _, second in expected]
    assert generators[-1] is generators[2]
    with pytest.raises(IndexError):
        generators[3]
