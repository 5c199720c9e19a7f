"""What the open part of a plan is expected to take on this machine."""

from __future__ import annotations

from sslm_platform.report.estimates import Estimate, Rates
from sslm_platform.report.records import read_cells, read_trainings
from sslm_platform.train.job import digest, initial_content
from sslm_platform.transfer.estimate import unit_costs
from sslm_platform.transfer.heads import head_id, head_path
from sslm_platform.transfer.plan import Plan
from sslm_platform.transfer.rates import calibrate, known_rates, rates_of, remember, trains
from sslm_platform.transfer.readings import Fitted
from sslm_platform.transfer.training import Lab, is_trained
from sslm_platform.transfer.units import Unit, units_of
from sslm_platform.transfer.worker import is_finished


def estimate(lab: Lab, plan: Plan, rates: Rates) -> Estimate:
    """Return what the plan's open units are expected to take."""
    heads = lab.folder.transfer / "heads"

    def is_fitted(unit: Unit) -> Fitted:
        key = unit.training.id if unit.training else digest(initial_content(lab.corpus, unit.initial_seed))
        return lambda tasks, seed: head_path(heads, head_id(lab.corpus, key, tasks, seed)).exists()

    costs = unit_costs(
        lab.corpus,
        units_of(plan),
        lambda cell: not is_finished(lab.folder, cell),
        lambda training: is_trained(lab, training),
        is_fitted,
        rates.model_bytes,
    )
    return Estimate(units=costs, rates=rates)


def measured_rates(lab: Lab, plan: Plan) -> Rates:
    """Return the rates of earlier runs on this machine, or measure some."""
    rates, units = known_rates(lab.corpus), units_of(plan)
    if rates is None or (trains(units) and not rates.train_tokens_per_second):
        rates = calibrate(lab, units)
        remember(lab.corpus, rates)
    return rates


def learned_rates(lab: Lab, before: Rates) -> Rates:
    """Return the rates that the run's records show."""
    records = read_cells(lab.folder.transfer).values(), read_trainings(lab.folder.transfer).values()
    return rates_of(before, lab.corpus.run.tasks, *records)
