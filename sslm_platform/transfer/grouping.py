"""Which tasks to train together: groups that serve each task best, under a budget of groups.

The score of a task in a group is the mean of the affinities of the group's other tasks on it, and 0 in a
group of its own: 0 means no effect. A task may help in several groups; it is served by the one in which its
score is highest. Fifty et al. 2021, "Efficiently identifying task groupings for multi-task learning", section
3.2; the search is Standley et al.'s (2020, "Which tasks should be learned together in multi-task learning?").

Shape suffixes: T tasks, G groups. ``affinity_TT[i, j]`` is what training on i does for j.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

EXACT_TASKS = 10  # 2^10 candidate groups; HiGHS takes seconds
NUM_STARTS = 20


@dataclass(frozen=True, slots=True)
class Grouping:
    """Groups of task numbers, and which group serves each task.

    Attributes:
        groups: each serves a task; tasks ascending.
        serves: by task, the number of its group.
        scores: by task, its score there.
        method: whether no other grouping has a higher mean score.
    """

    groups: tuple[tuple[int, ...], ...]
    serves: tuple[int, ...]
    scores: tuple[float, ...]
    method: Literal["exact", "local search"]

    @property
    def value(self) -> float:
        """Mean score of the tasks."""
        return float(np.mean(self.scores))


def group_tasks(affinity_TT: np.ndarray, num_groups: int) -> Grouping:
    """Return the groups with the highest mean score: exactly up to 10 tasks, by local search above.

    Args:
        affinity_TT: finite; the diagonal is not read.
        num_groups: at most so many, 1 or more.
    """
    assert num_groups >= 1
    if len(affinity_TT) <= EXACT_TASKS:
        return _served(affinity_TT, _exact(affinity_TT, num_groups), "exact")
    return _served(affinity_TT, _local_search(affinity_TT, num_groups), "local search")


def group_scores(affinity_TT: np.ndarray, members_GT: np.ndarray) -> np.ndarray:
    """Return the score of each task in each group, (G, T); minus infinity where it is no member.

    Args:
        affinity_TT: the affinities.
        members_GT: bool.
    """
    others_TT = affinity_TT - np.diag(np.diag(affinity_TT))
    num_others_G1 = np.maximum(members_GT.sum(axis=1, keepdims=True) - 1, 1)
    return np.where(members_GT, members_GT @ others_TT / num_others_G1, -np.inf)


def _served(
    affinity_TT: np.ndarray, members_GT: np.ndarray, method: Literal["exact", "local search"]
) -> Grouping:
    scores_GT = group_scores(affinity_TT, members_GT)
    chosen_T = scores_GT.argmax(axis=0)
    used = np.unique(chosen_T)
    return Grouping(
        tuple(tuple(np.flatnonzero(members_GT[g]).tolist()) for g in used),
        tuple(np.searchsorted(used, chosen_T).tolist()),
        tuple(scores_GT.max(axis=0).tolist()),
        method,
    )


def _exact(affinity_TT: np.ndarray, num_groups: int) -> np.ndarray:
    """Solve the choice among all groups as an integer program (an uncapacitated facility location).

    x_G says that a group is trained, y_GT that it serves a task: maximise the sum of scores of y, with each
    task served once, only by groups that are trained, and at most ``num_groups`` of them.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import coo_array, csr_array, hstack, identity

    num_tasks = len(affinity_TT)
    numbers_G = np.arange(1, 2**num_tasks)
    members_GT = (numbers_G[:, None] >> np.arange(num_tasks)) % 2 == 1
    group_S, task_S = np.nonzero(members_GT)  # S = possible services
    gain_S = group_scores(affinity_TT, members_GT)[group_S, task_S]
    num, services = len(members_GT), np.arange(len(group_S))
    ones_S = np.ones(len(group_S))
    once = coo_array((ones_S, (task_S, services)), shape=(num_tasks, len(group_S)))
    trained = coo_array((ones_S, (services, group_S)), shape=(len(group_S), num))
    none = csr_array((num_tasks, num))
    result = milp(
        np.concatenate([np.zeros(num), -gain_S]),
        integrality=np.concatenate([np.ones(num), np.zeros(len(group_S))]),
        bounds=Bounds(0.0, 1.0),
        constraints=[
            LinearConstraint(hstack([none, once]), 1.0, 1.0),
            LinearConstraint(hstack([-trained, identity(len(group_S))]), -np.inf, 0.0),
            LinearConstraint(np.concatenate([np.ones(num), np.zeros(len(group_S))])[None], 0.0, num_groups),
        ],
        options={"mip_rel_gap": 0.0},
    )
    assert result.x is not None, result.message
    return members_GT[result.x[:num] > 0.5]


def _local_search(affinity_TT: np.ndarray, num_groups: int) -> np.ndarray:
    """Put tasks into groups and take them out while the mean score rises; return the best of some starts."""
    rng = np.random.default_rng(0)
    num_tasks = len(affinity_TT)
    best, best_value = np.ones((1, num_tasks), dtype=bool), -np.inf
    for start in range(NUM_STARTS):
        if start == 0:
            members_GT = _greedy(affinity_TT, num_groups)
        else:
            members_GT = rng.integers(num_groups, size=num_tasks) == np.arange(num_groups)[:, None]
        members_GT, value = _climb(affinity_TT, members_GT)
        if value > best_value:
            best, best_value = members_GT, value
    return best


def _greedy(affinity_TT: np.ndarray, num_groups: int) -> np.ndarray:
    """Merge the two groups whose union loses least, from one task a group down to the budget."""
    groups = list(np.eye(len(affinity_TT), dtype=bool))
    while len(groups) > num_groups:
        unions = [
            ([*(g for k, g in enumerate(groups) if k not in (i, j)), groups[i] | groups[j]])
            for i in range(len(groups))
            for j in range(i)
        ]
        groups = max(unions, key=lambda union: _value(affinity_TT, np.stack(union)))
    return np.stack(groups)


def _climb(affinity_TT: np.ndarray, members_GT: np.ndarray) -> tuple[np.ndarray, float]:
    """Flip the one membership, or exchange the two, that raises the value most, until none does."""
    value = _value(affinity_TT, members_GT)
    while True:
        steps = [_flipped(members_GT, flip) for flip in _moves(members_GT)]
        values = [_value(affinity_TT, step) for step in steps]
        if max(values) <= value + 1e-12:
            return members_GT, value
        members_GT, value = steps[int(np.argmax(values))], max(values)


def _moves(members_GT: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return flips of one membership, and moves of a task from one group to another."""
    places = [(g, t) for g in range(len(members_GT)) for t in range(members_GT.shape[1])]
    flips = [[place] for place in places]
    return flips + [
        [(g, t), (other, t)]
        for g, t in places
        if members_GT[g, t]
        for other in range(len(members_GT))
        if not members_GT[other, t]
    ]


def _flipped(members_GT: np.ndarray, places: Sequence[tuple[int, int]]) -> np.ndarray:
    result = members_GT.copy()
    for group, task in places:
        result[group, task] = not result[group, task]
    return result


def _value(affinity_TT: np.ndarray, members_GT: np.ndarray) -> float:
    return float(group_scores(affinity_TT, members_GT).max(axis=0).mean())
