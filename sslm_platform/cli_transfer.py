"""The commands ``sslm transfer plan``, ``run`` and ``train``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from sslm_platform.cli_options import Cache, Out, Overrides, Processes, Restart, SpecPath
from sslm_platform.errors import SslmError
from sslm_platform.transfer.claims import STALE_AFTER


def add_transfer_commands(transfer: typer.Typer) -> None:
    """Add the commands."""
    for command in (plan, run, train):
        transfer.command()(command)


def plan(
    spec: SpecPath,
    overrides: Overrides = [],  # noqa: B006
    out: Out = None,
    cache: Cache = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the cells that a spec asks for, which are done, and what the rest takes: nothing is measured.

    The first time on a machine, some seconds of training and encoding say how fast it is.
    """
    from rich.console import Console

    from sslm_platform.runs import open_run
    from sslm_platform.tables import plan_table

    result = open_run(spec, out=out, cache=cache, overrides=overrides)
    planned, estimate = result.plan_transfer(), result.estimate_transfer()
    if as_json:
        typer.echo(estimate.model_dump_json(indent=1))
    else:
        Console().print(plan_table(planned, estimate))


def run(
    spec: SpecPath,
    overrides: Overrides = [],  # noqa: B006
    out: Out = None,
    cache: Cache = None,
    shard: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Be one of N workers on one folder."),
    ] = None,
    nproc: Processes = 1,
    stale_after: Annotated[
        float, typer.Option(min=1.0, help="Seconds of silence after which a worker counts as dead.")
    ] = STALE_AFTER,
    restart: Restart = False,
) -> None:
    """Measure the transfer cells that are not done yet, beside other workers if there are any."""
    from sslm_platform.runs import open_run
    from sslm_platform.transfer.runner import Work
    from sslm_platform.transfer.units import parse_shard

    if shard and restart:
        raise SslmError("--restart removes what other workers read: give it without --shard")
    work = Work(parse_shard(shard) if shard else None, nproc, stale_after)
    open_run(spec, out=out, cache=cache, overrides=overrides).transfer(work, restart)


def train(
    spec: SpecPath,
    training: Annotated[str, typer.Argument(metavar="TRAINING", help="Its id in RUN/transfer/plan.json.")],
    overrides: Overrides = [],  # noqa: B006
    out: Out = None,
    cache: Cache = None,
) -> None:
    """Train one source of the plan with the spec's engine; a launcher may run this in several ranks."""
    from sslm_platform.engine.rank import end_with_parent, rank
    from sslm_platform.runs import open_run

    if "RANK" in os.environ:
        end_with_parent()
    result = open_run(spec, out=out, cache=cache, overrides=overrides)
    model = result.train_source(training)
    if rank() == 0:
        result.console.print(f"model: {model}", highlight=False, soft_wrap=True)
