"""The commands ``sslm transfer predict`` and ``sslm transfer group``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sslm_platform.cli_options import Cache, Out, Overrides, RunPath
from sslm_platform.errors import SslmError

if TYPE_CHECKING:
    from sslm_platform.report.records import CellRecord, TransferPlan

Place = Annotated[Path, typer.Argument(metavar="RUN|SPEC", help="A run's folder, or a spec's YAML file.")]


def add_prediction_commands(transfer: typer.Typer) -> None:
    """Add the commands."""
    transfer.command("predict")(predict)
    transfer.command("group")(group)


def predict(
    place: Place,
    overrides: Overrides = [],  # noqa: B006  (typer reads it, nothing writes it)
    estimators: Annotated[
        str | None, typer.Option(help="Names, with commas between.", show_default="the spec's, or all")
    ] = None,
    train: Annotated[
        bool, typer.Option("--train", help="Train the sources whose models are needed and not there.")
    ] = False,
    out: Out = None,
    cache: Cache = None,
) -> None:
    """Predict the transfer matrix, and say how well that agrees with what was measured."""
    from sslm_platform.report.agreement import agreements
    from sslm_platform.report.prediction_tables import print_predictions
    from sslm_platform.report.predictions import predicted_matrices
    from sslm_platform.runs import open_run

    if place.is_dir():
        place, out = place / "spec.yaml", out or place
    names = None if estimators is None else [name.strip() for name in estimators.split(",")]
    run = open_run(place, out=out, cache=cache, overrides=overrides)
    predictions = run.predict_transfer(names, may_train=train)
    plan, cells = _measured(run.path)
    matrices = predicted_matrices(predictions)
    found = agreements(matrices.values(), plan, cells) if plan else []
    print_predictions(_stdout(), predictions, found, cells.values())


def group(
    run: RunPath,
    groups: Annotated[
        int | None,
        typer.Option(min=1, help="Most groups, that is models, to train.", show_default="2"),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            help="Estimator, or measured protocol such as pairwise/zero_shot.", show_default="tag_affinity"
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The spec; predictions go beside it.", show_default="RUN/groups.yaml"),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            help="Predictions of a grouping whose spec RUN has run: say what came true.", show_default=False
        ),
    ] = None,
) -> None:
    """Say which tasks to train together, as a spec that `sslm run` takes; or what became of such a spec."""
    from sslm_platform.report.prediction_tables import print_groups, print_outcomes

    if check is not None:
        if (groups, by, out) != (None, None, None):
            raise SslmError("--check reads a grouping that is there: leave out --groups, --by and --out")
        from sslm_platform.report.grouping import GroupPlan, outcomes
        from sslm_platform.report.records import read_record

        plan, cells = _measured(run)
        if plan is None:
            raise SslmError(f"{run}: has no measured transfer matrix; `sslm run` the grouping's spec first")
        print_outcomes(_stdout(), outcomes(read_record(GroupPlan, check), plan, cells))
        return
    from sslm_platform.runs import write_groups

    spec = out or run / "groups.yaml"
    plan_of_groups = write_groups(run, by or "tag_affinity", groups or 2, spec)
    print_groups(_stdout(), plan_of_groups, spec)


def _measured(run: Path) -> tuple[TransferPlan | None, dict[str, CellRecord]]:
    from sslm_platform.report.records import TransferPlan, read_cells, read_record

    transfer = run / "transfer"
    if not (transfer / "plan.json").exists():
        return None, {}
    return read_record(TransferPlan, transfer / "plan.json"), dict(read_cells(transfer))


def _stdout() -> Any:
    from rich.console import Console

    return Console()
