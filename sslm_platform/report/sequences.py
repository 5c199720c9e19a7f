"""What training one source after another does: forgetting, backward and forward transfer.

For a sequence of T stages let R_kj be the score on stage j's targets after stage k, in the metric's good
direction, and b_j the score without any stage: that of the pretrained encoder where the target is learned, of
the constant predictor for ``zero_shot``. Then

- average accuracy after stage k: mean over j <= k of R_kj (Chaudhry et al., *Riemannian Walk for Incremental
  Learning*, ECCV 2018; at k = T it is the ACC of Lopez-Paz and Ranzato, *Gradient Episodic Memory for
  Continual Learning*, NeurIPS 2017);
- backward transfer: mean over j < T of R_Tj - R_jj (BWT of Lopez-Paz and Ranzato);
- forward transfer: mean over 1 < j <= T of R_(j-1)j - b_j (their FWT, whose b_j is an untrained model's);
- forgetting after stage k: mean over j < k of (max over l < k of R_lj) - R_kj (F_k of Chaudhry et al.).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sslm_platform.report.measured import Reader, Records
from sslm_platform.report.records import PlannedCell, TransferPlan
from sslm_platform.statistics import Estimate, Sample, combine, infer, mean_of, score_estimate

Stages = tuple[tuple[str, ...], ...]
Scores = Mapping[tuple[int, int], Sample]
"""R: (k, j), from 0, to the sample of the score; pairs that were not measured are missing."""


@dataclass(frozen=True, slots=True)
class SequenceScores:
    """One sequence; None where a score that the figure is made of is missing.

    Attributes:
        name: the stages' names, joined by arrows.
        metric: of all targets, or empty: scores are then shares of the way from the constant predictor's to a
            perfect one, because metrics differ.
        accuracy: average accuracy after each stage, as the metric gives it; all others are in its good
            direction.
        forgetting: after each stage but the first.
    """

    protocol: str
    name: str
    metric: str
    best: float
    accuracy: tuple[Estimate | None, ...]
    forgetting: tuple[Estimate | None, ...]
    backward: Estimate | None
    forward: Estimate | None


def sequence_scores(plan: TransferPlan, cells: Records) -> tuple[SequenceScores, ...]:
    """Return the figures of every sequence that is no beginning of another one, in the order of the plan."""
    found = [cell for cell in plan.cells if cell.key.source_stage == "sequential" and not cell.is_baseline]
    rows = dict.fromkeys((cell.key.protocol, cell.key.row) for cell in found)
    return tuple(
        _scores(plan, cells, [cell for cell in found if cell.key.protocol == protocol], stages)
        for protocol, stages in rows
        if not any(p == protocol and s[: len(stages)] == stages and s != stages for p, s in rows)
    )


def average_accuracy(scores: Scores, k: int) -> Sample | None:
    """Return A_k: the mean score on the targets of stages 0 to k, after stage k."""
    return _mean(scores.get((k, j)) for j in range(k + 1))


def backward_transfer(scores: Scores, num_stages: int) -> Sample | None:
    """Return what the stages after each did for its targets."""
    last = num_stages - 1
    return _mean(_difference(scores, (last, j), (j, j)) for j in range(last))


def forward_transfer(gains: Scores, num_stages: int) -> Sample | None:
    """Return what the stages before each did for its targets; ``gains`` are scores minus b_j."""
    return _mean(gains.get((j - 1, j)) for j in range(1, num_stages))


def forgetting(scores: Scores, k: int) -> Sample | None:
    """Return what stage k left less of than the best that some stage before it had."""
    return _mean(_forgotten(scores, k, j) for j in range(k))


def _forgotten(scores: Scores, k: int, j: int) -> Sample | None:
    now, then = scores.get((k, j)), scores.get((j, j))
    if now is None or then is None or now.seeds != then.seeds:
        return None
    earlier = [s for i in range(k) if (s := scores.get((i, j))) is not None and s.seeds == now.seeds]
    return combine(lambda current, *before: np.maximum.reduce(before) - current, now, *earlier)


def _difference(scores: Scores, after: tuple[int, int], before: tuple[int, int]) -> Sample | None:
    one, other = scores.get(after), scores.get(before)
    if one is None or other is None or one.seeds != other.seeds:
        return None
    return combine(np.subtract, one, other)


def _mean(samples: Iterable[Sample | None]) -> Sample | None:
    found = list(samples)
    known = [sample for sample in found if sample is not None]
    return mean_of(known) if known and len(known) == len(found) else None


def _scores(
    plan: TransferPlan, cells: Records, found: Sequence[PlannedCell], stages: Stages
) -> SequenceScores:
    done = [cells[cell.id] for cell in found if cell.id in cells and cells[cell.id].status == "done"]
    metrics = {record.metric for record in done}
    one = len(metrics) == 1
    scores = _measured(Reader(plan, cells, "score" if one else "normalised", "majority"), found, stages)
    defined = [cell for cell in found if not cell.undefined]
    without = "pretrained" if all("pretrained" in cell.baselines for cell in defined) else "majority"
    gains = _measured(Reader(plan, cells, "gain" if one else "normalised", without), found, stages)
    last, lower = len(stages) - 1, one and not done[0].higher_is_better
    best = done[0].best if one else 1.0
    accuracies = (_as_scored(average_accuracy(scores, k), lower) for k in range(last + 1))
    return SequenceScores(
        protocol=found[0].key.protocol,
        name=next(cell.key.source for cell in found if cell.key.row == stages),
        metric=metrics.pop() if one else "",
        best=best,
        accuracy=tuple(m if m is None else score_estimate(m, not lower, best) for m in accuracies),
        forgetting=tuple(_estimate(forgetting(scores, k)) for k in range(1, last + 1)),
        backward=_estimate(backward_transfer(scores, last + 1)),
        forward=_estimate(forward_transfer(gains, last + 1)),
    )


def _measured(reader: Reader, found: Sequence[PlannedCell], stages: Stages) -> dict[tuple[int, int], Sample]:
    """Return R: the mean over each stage's targets, where every one of them was measured."""
    scores: dict[tuple[int, int], Sample] = {}
    for k in range(len(stages)):
        after = [cell for cell in found if cell.key.row == stages[: k + 1]]
        for j, members in enumerate(stages):
            samples = []
            for target in dict.fromkeys(cell.key.target for cell in found if cell.key.target in members):
                samples.append(_sample(reader, [cell for cell in after if cell.key.target == target]))
            mean = _mean(samples)
            if mean is not None:
                scores[k, j] = mean
    return scores


def _sample(reader: Reader, group: Sequence[PlannedCell]) -> Sample | None:
    pair, _ = reader.pair(group)
    if pair is None:
        return None
    return _as_scored(pair.sample, reader.value == "score" and not pair.records[0].higher_is_better)


def _as_scored(sample: Sample | None, lower_is_better: bool) -> Sample | None:
    """Turn the sign of a score for its metric's good direction, or back."""
    return combine(np.negative, sample) if sample is not None and lower_is_better else sample


def _estimate(sample: Sample | None) -> Estimate | None:
    if sample is None:
        return None
    inference = infer(sample)
    return inference.estimate() if inference else Estimate(sample.value)
