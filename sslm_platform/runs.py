"""A run from Python: the same steps as the command line, for notebooks and scripts."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sslm_platform.errors import DataError, Interrupted, Problem, RunError, SpecError, raise_all
from sslm_platform.kinds import OutputKind
from sslm_platform.signals import SIGNALS
from sslm_platform.spec.data import SplitName
from sslm_platform.spec.load import LoadedSpec, load_run_spec
from sslm_platform.spec.resolve import resolve
from sslm_platform.spec.resolved import ResolvedRun

if TYPE_CHECKING:
    from rich.console import Console

    from sslm_platform.corpus import Corpus
    from sslm_platform.data.tags import Scheme
    from sslm_platform.report.estimates import Estimate
    from sslm_platform.report.grouping import GroupPlan
    from sslm_platform.report.predictions import Prediction
    from sslm_platform.report.records import TaskScore
    from sslm_platform.report.render import Report
    from sslm_platform.train.folder import RunFolder
    from sslm_platform.transfer.plan import Plan
    from sslm_platform.transfer.runner import Work


@dataclass(slots=True)
class _Recorded:
    """Work on a run; ``timed`` unless nothing was left to do, or other workers are at it as well."""

    folder: RunFolder
    timed: bool = True


class Run:
    """A run's folder and its spec.

    Attributes:
        path: the folder.
        resolved: the spec with its names looked up.
    """

    def __init__(self, resolved: ResolvedRun, path: Path, cache: Path | None, console: Console) -> None:
        self.resolved = resolved
        self.path = path
        self.console = console
        self._cache = cache
        self.rendered: Report | None = None
        self._corpus: Corpus | None = None
        self._plan: Plan | None = None
        self._predictors: dict[str, Any] = {}

    @property
    def corpus(self) -> Corpus:
        """The run's data, read and checked when first needed."""
        if self._corpus is None:
            from sslm_platform.corpus import Corpus
            from sslm_platform.train.folder import default_cache

            try:
                corpus = Corpus(self.resolved, self._cache or default_cache())
                corpus.check_unknown()
                corpus.check_backbone()
                corpus.check_heads()
            except (SpecError, DataError) as error:
                raise type(error)(*map(self.resolved.loaded.placed, error.problems)) from error
            self._corpus = corpus
        return self._corpus

    def train(self, restart: bool = False) -> None:
        """Train jointly, or go on where a training was saved; ``restart`` removes the folder's before.

        Raises:
            RunError: the folder's training is of another spec, data or plugins, and nothing was touched.
        """
        from sslm_platform.train.joint import train_joint

        spec = self.resolved.spec
        with self._recorded(restart) as work:
            work.timed = train_joint(
                self.corpus, work.folder, self.console, spec.seed, spec.engine, fresh=restart
            )

    def plan_transfer(self) -> Plan:
        """Return the cells that the spec asks for."""
        if self._plan is None:
            from sslm_platform.transfer.cells import plan_cells

            self._plan = plan_cells(self.corpus)
        return self._plan

    def estimate_transfer(self) -> Estimate:
        """Return what the cells that are not done are expected to take; it may measure this machine first."""
        from sslm_platform.train.folder import RunFolder
        from sslm_platform.transfer.costs import estimate, measured_rates
        from sslm_platform.transfer.runner import open_lab

        lab, plan = open_lab(self.corpus, RunFolder(self.path), self.console), self.plan_transfer()
        return estimate(lab, plan, measured_rates(lab, plan))

    def transfer(self, work: Work | None = None, restart: bool = False) -> None:
        """Measure every planned cell that has no finished record.

        Args:
            work: as one of several workers, or with several ranks for each training.
            restart: remove the folder's joint training before.

        Raises:
            RunError: the folder's training is of another spec, data or plugins, and nothing was touched.
        """
        from sslm_platform.transfer.runner import run_transfer

        if work is not None and work.num_processes > 1:
            self._require_ranks()
        with self._recorded(restart) as recorded:
            recorded.timed = work is None or work.shard is None
            recorded.timed &= run_transfer(
                self.corpus, self.plan_transfer(), recorded.folder, self.console, work
            )

    def train_source(self, training: str) -> Path:
        """Train one of the plan's sources, by its id, with the run's engine; return its model."""
        from sslm_platform.train.folder import RunFolder
        from sslm_platform.transfer.runner import open_lab, train_planned

        lab = open_lab(self.corpus, RunFolder(self.path), self.console)
        return train_planned(lab, self.plan_transfer(), training)

    def predict_transfer(
        self, estimators: Sequence[str] | None = None, *, may_train: bool = False
    ) -> list[Prediction]:
        """Predict the transfer matrix; what is done before is not done again.

        Args:
            estimators: names; default: the spec's, or all that are installed.
            may_train: train the sources whose models some estimators read; else those are undefined.
        """
        from sslm_platform.transfer.predict import choose, plan_predictions, predict_transfer, write_plan
        from sslm_platform.transfer.runner import open_lab

        chosen = choose(self.resolved, estimators or ())
        wanted = {bound.definition for bound in chosen or self.resolved.estimators}
        with self._recorded() as work:
            lab = open_lab(self.corpus, work.folder, self.console)
            planned = plan_predictions(self.corpus, chosen)
            write_plan(work.folder.transfer, planned)
            asked = [forecast for forecast in planned if forecast.estimator.definition in wanted]
            return predict_transfer(lab, asked, may_train=may_train)

    def begin(self, restart: bool = False) -> RunFolder:
        """Write the run's facts into its folder, if its training is this one or there is none.

        Args:
            restart: whether a training that is there is removed.

        Raises:
            RunError: the folder's training is of another spec, data or plugins, and nothing was touched.
        """
        from sslm_platform.train.folder import RunFolder, forget_training, write_run
        from sslm_platform.train.job import joint_content
        from sslm_platform.train.resume import check_same

        folder = RunFolder(self.path)
        if restart:
            forget_training(folder)
        check_same(folder, joint_content(self.corpus, self.resolved.spec.seed))
        write_run(folder, self.corpus)
        return folder

    @contextmanager
    def _recorded(self, restart: bool = False) -> Iterator[_Recorded]:
        """Write the run's facts, and afterwards how the work ended; what is killed stays ``running``."""
        from sslm_platform.engine.rank import rank
        from sslm_platform.train.folder import RunFolder, finish_run

        began, work = time.monotonic(), _Recorded(RunFolder(self.path))
        if rank() != 0:
            yield work
            return
        self.begin(restart)
        try:
            yield work
        except Exception:
            finish_run(work.folder, "failed", time.monotonic() - began if work.timed else 0.0)
            raise
        finish_run(work.folder, "done", time.monotonic() - began if work.timed else 0.0)

    def _require_ranks(self) -> None:
        if self.resolved.spec.engine.name != "deepspeed":
            raise SpecError(
                Problem("engine.name", "local is one process; several need engine: {name: deepspeed}")
            )

    def evaluate(self, split: SplitName = "test") -> list[TaskScore]:
        """Score the trained model on a split, beside the constant predictor."""
        from sslm_platform.train.folder import RunFolder
        from sslm_platform.train.joint import score_saved

        return score_saved(self.corpus, RunFolder(self.path), split)

    def predict(
        self,
        texts: Sequence[str | Mapping[str, Any]],
        task: str,
        candidates: Sequence[str] | None = None,
        scheme: Scheme = "bio",
    ) -> list[dict[str, Any]]:
        """Answer for texts; see :class:`~sslm_platform.predict.Predictor`.

        ``candidates`` are what a task that ranks looks among; all that its stream has where none are given.
        ``scheme`` is how tags are written.
        """
        from sslm_platform.predict import Predictor
        from sslm_platform.train.folder import RunFolder

        if task not in self._predictors:
            self._predictors[task] = Predictor(self.resolved, RunFolder(self.path).model, task)
        predictor = self._predictors[task]
        if predictor.emits is OutputKind.RANKING and candidates is None:
            candidates = self._candidates(task)
        return predictor(texts, candidates or (), scheme)

    def _candidates(self, task: str) -> list[str]:
        from sslm_platform.ranking import candidates_of

        own = self.resolved.tasks[task]
        splits = self.corpus.task_feed(own, self.resolved.spec.seed).splits.values()
        return [text for split in splits for text in candidates_of(own, split).texts]

    def report(self) -> Path:
        """Render the report from the records, which :attr:`rendered` is then; return the HTML page's path."""
        from sslm_platform.report.render import Report

        self.rendered = Report.read(self.path)
        return self.rendered.write()


def run(
    spec: str | Path,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    overrides: Sequence[str] = (),
    num_processes: int = 1,
    restart: bool = False,
    console: Console | None = None,
) -> Run:
    """Do all of a spec: train, evaluate, measure the transfer cells, render the report.

    Args:
        spec: path of the YAML file.
        out: the run's folder; default: ``runs/NAME``.
        cache: downloads and tokenized data; default: ``SSLM_CACHE`` or the user's cache folder.
        overrides: ``key.path=value``, as ``--set`` on the command line.
        num_processes: ranks of each training; more than one needs ``engine: {name: deepspeed}``.
        restart: remove the folder's joint training and train again; else one of another spec is an error.
        console: where progress goes; default: standard error.

    Raises:
        SslmError: the spec or the data are not as they must be.
    """
    from sslm_platform.transfer.runner import Work

    result = open_run(spec, out=out, cache=cache, overrides=overrides, console=console)
    result.plan_transfer()  # what cannot be planned is said before the hours of training,
    result.resolved.executor.build()  # and what is not installed
    if num_processes > 1:
        launch_training(result, num_processes, restart)
    else:
        result.train(restart)
    if result.resolved.spec.transfer:
        result.transfer(Work(num_processes=num_processes))
    result.report()
    return result


def open_run(
    spec: str | Path,
    *,
    out: str | Path | None = None,
    cache: str | Path | None = None,
    overrides: Sequence[str] = (),
    console: Console | None = None,
) -> Run:
    """Read and check a spec, and return its run, with nothing done yet."""
    from rich.console import Console

    loaded = load_run_spec(spec, overrides)
    path = Path(out or Path("runs") / loaded.spec.name)
    try:
        resolved = resolve_spec(loaded)
    except SpecError as error:
        from sslm_platform.train.folder import RunFolder, lost_plugins

        raise SpecError(*error.problems, *lost_plugins(RunFolder(path))) from None
    return Run(resolved, path, Path(cache) if cache else None, console or Console(stderr=True))


def load_run(path: str | Path, *, cache: str | Path | None = None, console: Console | None = None) -> Run:
    """Open the folder of a run that was started before."""
    path = Path(path)
    if not (path / "spec.yaml").is_file():
        raise RunError(Problem(str(path), "is not a run's folder: it has no spec.yaml"))
    return open_run(path / "spec.yaml", out=path, cache=cache, console=console)


def resolve_spec(loaded: LoadedSpec) -> ResolvedRun:
    """Resolve a spec and check that its engine can do what it asks for; no torch is imported.

    Raises:
        SpecError: with all problems found.
    """
    from sslm_platform.engine.check import check_engine

    problems: list[Problem] = []
    resolved = None
    try:
        resolved = resolve(loaded)
    except SpecError as error:
        problems.extend(error.problems)
    place = loaded.where("engine").removesuffix("engine")
    spec = loaded.spec
    gradients_of, sharded = (resolved.gradients_of, resolved.sharded_heads) if resolved else (None, ())
    found = check_engine(spec.engine, gradients_of, sharded, spec.optimizer)
    problems += [loaded.blamed(Problem(place + p.where, p.what)) for p in found]
    raise_all(SpecError, problems)
    assert resolved is not None
    return resolved


def launch_training(run: Run, num_processes: int, restart: bool = False) -> None:
    """Train jointly in several processes on this machine.

    Raises:
        RunError: a process failed; its own message is on the screen.
        Interrupted: a signal asked to stop; what the processes saved is there.
    """
    from sslm_platform.engine.launch import launch

    run._require_ranks()
    run.begin(restart)  # the data are read and cached once, before the ranks start
    argv = ["-m", "sslm_platform", "train", str(run.path / "spec.yaml"), "--out", str(run.path)]
    if run._cache is not None:
        argv += ["--cache", str(run._cache)]
    code = launch(argv, num_processes)
    if code - 128 in SIGNALS:
        raise Interrupted(code - 128)
    if code:
        what = "the same command goes on from the last checkpoint"
        raise RunError(f"the training stopped: a process ended with code {code}; {what}")


def read_scores(path: Path) -> list[TaskScore]:
    """Read a run's test scores, empty where it has none."""
    from sslm_platform.report.records import TaskScore

    file = path / "scores.json"
    if not file.exists():
        return []
    return [TaskScore.model_validate(s) for s in json.loads(file.read_text(encoding="utf-8"))["scores"]]


def write_groups(run: Path, by: str, budget: int, out: Path) -> GroupPlan:
    """Group a run's tasks, and write the spec that tries the groups, with its predictions beside it as JSON.

    Args:
        run: a run's folder, with predictions or measured cells.
        by: an estimator's name, or a measured protocol.
        budget: most groups.
        out: path of the spec.

    Raises:
        RunError: nothing was predicted or measured by that name.
    """
    from sslm_platform.files import write_text
    from sslm_platform.report.grouping import affinities
    from sslm_platform.report.predictions import predicted_matrices, read_predictions
    from sslm_platform.report.records import TransferPlan, read_cells, read_record, write_record
    from sslm_platform.spec.load import dump_spec
    from sslm_platform.transfer.group_spec import group_spec, plan_groups

    resolved = load_run(run).resolved
    transfer = run / "transfer"
    plan = read_record(TransferPlan, transfer / "plan.json") if (transfer / "plan.json").exists() else None
    matrices = predicted_matrices(read_predictions(transfer))
    known = affinities(by, matrices, plan, read_cells(transfer), list(resolved.tasks))
    groups = plan_groups(known, budget)
    write_text(out, dump_spec(group_spec(resolved.spec, groups, f"{resolved.spec.name}-groups")))
    write_record(groups, out.with_suffix(".json"))
    return groups
