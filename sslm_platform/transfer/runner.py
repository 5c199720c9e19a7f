"""Measuring the planned cells: each source trained once, each data set encoded once per encoder."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import torch
from rich.console import Console

from sslm_platform.corpus import Corpus
from sslm_platform.errors import SslmError
from sslm_platform.evaluate import score_intervals
from sslm_platform.plugins import host
from sslm_platform.report.records import CellRecord, read_record, write_record
from sslm_platform.spec.schema import EngineSpec
from sslm_platform.train.folder import RunFolder, versions
from sslm_platform.train.joint import joint_id
from sslm_platform.train.observers import Notifier, TerminalProgress, observing
from sslm_platform.transfer.cells import plan_cells
from sslm_platform.transfer.floors import Measured
from sslm_platform.transfer.measure import EncoderCells
from sslm_platform.transfer.plan import CellPlan, Plan, TrainingPlan, in_order
from sslm_platform.transfer.training import Lab

log = logging.getLogger(__name__)


def run_transfer(corpus: Corpus, folder: RunFolder, console: Console) -> Plan:
    """Measure every planned cell that has no finished record; a cell that fails is recorded as such."""
    plan = plan_cells(corpus)
    own = joint_id(corpus, corpus.run.spec.seed)
    write_record(plan.record(corpus, own), folder.transfer / "plan.json")
    progress = TerminalProgress(console)
    with observing(host(), progress), progress.live():
        _Runner(open_lab(corpus, folder, console)).run(plan)
    return plan


def open_lab(corpus: Corpus, folder: RunFolder, console: Console) -> Lab:
    """Return what measuring and predicting need."""
    engine = corpus.run.spec.engine
    return Lab(
        corpus,
        folder,
        console,
        Notifier(host()),
        # one process measures cells, whatever engine the joint training has
        EngineSpec(precision=engine.precision, threads=engine.threads),
        torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )


def is_finished(folder: RunFolder, cell: CellPlan) -> bool:
    """Whether a cell has a finished record."""
    path = _record_path(folder, cell)
    return path.exists() and read_record(CellRecord, path).status == "done"


def _record_path(folder: RunFolder, cell: CellPlan) -> Path:
    return folder.transfer / "cells" / cell.id / "record.json"


class _Runner:
    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = lab.folder
        self.versions = versions() | {"threads": str(torch.get_num_threads())}

    def run(self, plan: Plan) -> None:
        defined = [c for c in plan.cells.values() if not c.undefined]
        open_cells = [c for c in defined if not is_finished(self.folder, c)]
        done = len(defined) - len(open_cells)
        self.lab.console.print(
            f"transfer: {len(open_cells)} cells to measure, {done} done before", highlight=False
        )
        for training, cells in in_order(open_cells):
            self._group(training, cells)

    def _group(self, training: TrainingPlan | None, cells: list[CellPlan]) -> None:
        """Measure all cells of one encoder; what fails, in a plugin or in torch, does not stop the rest."""
        try:
            encoder = EncoderCells(self.lab, training)
        except Exception as error:
            for cell in cells:
                self._write(cell, _failed(cell, error))
            return
        for cell in cells:
            began = time.perf_counter()
            try:
                record = self._done(cell, encoder.measure(cell), began)
            except Exception as error:
                record = _failed(cell, error)
            self._write(cell, record)

    def _done(self, cell: CellPlan, measured: Measured, began: float) -> CellRecord:
        scores, resamples = score_intervals(cell.target, measured.scored, measured.labels)
        definition = cell.target.primary.definition
        return CellRecord(
            id=cell.id,
            key=cell.key,
            status="done",
            metric=cell.target.primary_name,
            higher_is_better=definition.higher_is_better,
            best=definition.best,
            scores=scores,
            resamples=resamples,
            num_train=measured.num_train,
            num_test=len(measured.scored),
            seconds=time.perf_counter() - began,
            num_tokens=measured.num_tokens,
            notes=dict(measured.notes),
            environment=self.versions,
        )

    def _write(self, cell: CellPlan, record: CellRecord) -> None:
        write_record(record, _record_path(self.folder, cell))
        self.lab.notifier.cell_finished(record)


def _failed(cell: CellPlan, error: Exception) -> CellRecord:
    reason = str(error)
    if not isinstance(error, SslmError):
        reason = f"{type(error).__name__}: {error}"
        log.error("a cell failed", exc_info=error)
    metric = cell.target.primary_name
    return CellRecord(id=cell.id, key=cell.key, status="failed", error=reason, metric=metric)
