"""One worker: claims units of work, trains and measures them, and writes a record of each cell."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from sslm_platform.errors import SslmError
from sslm_platform.report.records import CellRecord, read_record, write_record
from sslm_platform.scoring import score_intervals
from sslm_platform.train.folder import RunFolder, versions
from sslm_platform.transfer.claims import Claim, Claims
from sslm_platform.transfer.floors import Measured
from sslm_platform.transfer.measure import EncoderCells
from sslm_platform.transfer.plan import CellPlan
from sslm_platform.transfer.training import Lab, is_trained, train_source
from sslm_platform.transfer.units import Unit

log = logging.getLogger(__name__)

LONGEST_WAIT = 5.0  # seconds between looks at units that other workers hold


def record_path(folder: RunFolder, cell: CellPlan) -> Path:
    """Return where a cell's record is."""
    return folder.transfer / "cells" / cell.id / "record.json"


def is_finished(folder: RunFolder, cell: CellPlan) -> bool:
    """Whether a cell has a finished record."""
    path = record_path(folder, cell)
    return path.exists() and read_record(CellRecord, path).status == "done"


class Worker:
    """Does what no other worker does, until all units are done.

    A cell that failed before this worker started is tried again, once by all workers together.
    """

    def __init__(self, lab: Lab, units: Sequence[Unit], claims: Claims) -> None:
        self.lab = lab
        self.folder = lab.folder
        self.claims = claims
        self.versions = versions() | {"threads": str(torch.get_num_threads())}
        self._failed_before = {
            cell.id: record_path(self.folder, cell).stat().st_mtime_ns
            for unit in units
            for cell in unit.cells
            if record_path(self.folder, cell).exists() and not is_finished(self.folder, cell)
        }
        self.open = [unit for unit in units if self._is_open(unit)]

    def run(self) -> None:
        """Work until nothing is open."""
        wait = min(LONGEST_WAIT, self.claims.stale_after / 4)
        waiting: set[str] = set()
        try:
            while self.open:
                if not any(self._try(unit) for unit in list(self.open)) and self.open:
                    waiting = self._say_who_is_waited_for(waiting)
                    time.sleep(wait)
        finally:
            self.claims.close()

    def open_cells(self, unit: Unit) -> list[CellPlan]:
        """Return the unit's cells that nobody has measured, or has failed to measure since the start."""
        return [cell for cell in unit.cells if self._is_open_cell(cell)]

    def _is_open_cell(self, cell: CellPlan) -> bool:
        path = record_path(self.folder, cell)
        if not path.exists():
            return True
        unchanged = path.stat().st_mtime_ns == self._failed_before.get(cell.id)
        return unchanged and not is_finished(self.folder, cell)

    def _is_open(self, unit: Unit) -> bool:
        if self.open_cells(unit):
            return True
        return not unit.cells and unit.training is not None and not is_trained(self.lab, unit.training)

    def _try(self, unit: Unit) -> bool:
        """Do a unit if it is there to be done; return whether something has changed."""
        if not self._is_open(unit):
            self.open.remove(unit)
            return True
        if any(unit.start == other.id for other in self.open):
            return False
        claim = self.claims.take(unit.id)
        if claim is None:
            return False
        with self.claims.beating(claim):
            if self._is_open(unit):  # nobody has finished it between the look and the claim
                self._do(unit, claim)
        if self.claims.holds(claim):
            self.open.remove(unit)
        else:
            log.warning("%s: this worker was silent for too long, and another one does it now", unit.name)
        return True

    def _do(self, unit: Unit, claim: Claim) -> None:
        """Measure the open cells of one encoder; one that fails does not stop the rest."""
        cells = self.open_cells(unit)
        try:
            if not cells and unit.training is not None:
                train_source(self.lab, unit.training)
                return
            encoder = EncoderCells(self.lab, unit.training, 0 if unit.training else unit.initial_seed)
        except Exception as error:
            if not cells:
                log.error("%s: the training failed", unit.name, exc_info=error)
            for cell in cells:
                self._fail(cell, error, claim)
            return
        for cell in cells:
            if not self.claims.holds(claim):
                return
            began = time.perf_counter()
            try:
                record = self._done(cell, encoder.measure(cell), began)
            except Exception as error:
                self._fail(cell, error, claim)
            else:
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

    def _fail(self, cell: CellPlan, error: Exception, claim: Claim) -> None:
        """Record that a cell failed, unless another worker does it by now."""
        if self.claims.holds(claim):
            self._write(cell, _failed(cell, error))

    def _write(self, cell: CellPlan, record: CellRecord) -> None:
        write_record(record, record_path(self.folder, cell))
        self.lab.notifier.cell_finished(record)

    def _say_who_is_waited_for(self, said: set[str]) -> set[str]:
        held = {f"{unit.name} ({self.claims.holder(unit.id)})" for unit in self.open}
        if held != said:
            self.lab.console.print(f"transfer: waiting for {', '.join(sorted(held))}", highlight=False)
        return held


def _failed(cell: CellPlan, error: Exception) -> CellRecord:
    reason = str(error)
    if not isinstance(error, SslmError):
        reason = f"{type(error).__name__}: {error}"
        log.error("a cell failed", exc_info=error)
    metric = cell.target.primary_name
    return CellRecord(id=cell.id, key=cell.key, status="failed", error=reason, metric=metric)
