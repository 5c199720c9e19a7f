"""What open units of work take, counted before anything runs: steps, tokens, probes, bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from sslm_platform.corpus import Corpus, group_by_head
from sslm_platform.data.feeds import Feed
from sslm_platform.report.estimates import UnitCost
from sslm_platform.schedule.plan import Position
from sslm_platform.spec.resolved import Task
from sslm_platform.train.loop import make_planner
from sslm_platform.transfer.floors import cell_feed
from sslm_platform.transfer.plan import Budget, CellPlan, TrainingPlan
from sslm_platform.transfer.readings import Fitted, num_fits, tokens_to_encode
from sslm_platform.transfer.units import Unit, is_finetuned

CELL_BYTES = 14_000  # a record: a thousand resamples
PLANNED_STEPS = 300  # steps that are planned one by one; of longer trainings these stand for all


def unit_costs(
    corpus: Corpus,
    units: Iterable[Unit],
    is_open: Callable[[CellPlan], bool],
    is_trained: Callable[[TrainingPlan], bool],
    is_fitted: Callable[[Unit], Fitted],
    model_bytes: int,
) -> tuple[UnitCost, ...]:
    """Return what the open units take.

    Args:
        corpus: the run's data.
        units: all units of the plan.
        is_open: whether a cell is still to be measured.
        is_trained: whether a source's model is there.
        is_fitted: which heads are fitted to a unit's encoder already.
        model_bytes: size of a saved model.
    """
    costs = []
    for unit in units:
        cells = [cell for cell in unit.cells if is_open(cell)]
        training = unit.training if unit.training and not is_trained(unit.training) else None
        if cells or (training and not unit.cells):
            costs.append(unit_cost(corpus, unit, cells, training, is_fitted(unit), model_bytes))
    return tuple(costs)


def unit_cost(
    corpus: Corpus,
    unit: Unit,
    cells: Sequence[CellPlan],
    training: TrainingPlan | None,
    fitted: Fitted,
    model_bytes: int,
) -> UnitCost:
    """Return what some of a unit's cells take, and its training where that is still to be done."""
    tokens: Counter[str] = Counter()
    steps = 0
    if training is not None:
        tasks = training.source.stages[-1]
        steps, found = training_size(corpus, tasks, training.seed, training.budget)
        tokens[kind_of(tasks)] += found
    for cell in cells:
        if is_finetuned(cell):
            assert cell.finetune is not None
            feed = cell_feed(corpus, cell)
            more, found = training_size(
                corpus, [cell.target], cell.key.seed, cell.finetune, {feed.name: feed}
            )
            steps += more
            tokens[kind_of([cell.target])] += found
    return UnitCost(
        id=unit.id,
        name=unit.name,
        cells=tuple(cell.id for cell in cells),
        training=training.id if training else "",
        train_steps=steps,
        train_tokens=dict(tokens),
        encode_tokens=tokens_to_encode(corpus, cells, fitted),
        num_fits=num_fits(corpus, cells, fitted),
        num_bytes=len(cells) * CELL_BYTES + (model_bytes if training else 0),
    )


def training_size(
    corpus: Corpus,
    tasks: Sequence[Task],
    seed: int,
    budget: Budget,
    feeds: Mapping[str, Feed] | None = None,
) -> tuple[int, int]:
    """Return the steps and the real tokens of a training; dev scorings are not counted.

    The steps are planned as the training would plan them, but a sampler that learns has seen nothing yet.
    """
    if feeds is None:  # in the order in which a model of these tasks has them
        groups = group_by_head({task.identity: task for task in tasks}).values()
        feeds = corpus.feeds([task for group in groups for task in group], seed)
    schedule = corpus.run.spec.schedule
    planner = make_planner(corpus, feeds, schedule, seed, budget.max_steps, budget.epochs)
    planned = min(planner.num_steps, PLANNED_STEPS)
    positions: Mapping[str, Position] = planner.start()
    tokens = 0
    for step in range(planned):
        plan = planner.plan(step, positions)
        positions = plan.positions
        tokens += sum(int(feeds[s.feed].splits["train"].lengths_N[s.rows].sum()) for s in plan.slots)
    return planner.num_steps, round(tokens * planner.num_steps / max(planned, 1))


def kind_of(tasks: Iterable[Task]) -> str:
    """Return what the speed of a training depends on, beside the machine: its objectives."""
    return "+".join(sorted({task.objective.definition.name for task in tasks}))
