"""The commands ``sslm report [show]`` and ``sslm report diff``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from sslm_platform.cli_options import RunPath
from sslm_platform.errors import SslmError


class _ShowByDefault(TyperGroup):
    """``sslm report RUN`` is ``sslm report show RUN``."""

    default_command = "show"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self.default_command, *args]
        return super().parse_args(ctx, args)


report_app = typer.Typer(
    cls=_ShowByDefault,
    help="Render a run's report, print one of its matrices, or compare two runs.",
    no_args_is_help=True,
)


@report_app.command()
def show(
    run: RunPath,
    rows: Annotated[str, typer.Option(help="Axis of the sources: source, task, domain, or a tag.")] = "",
    cols: Annotated[str, typer.Option(help="Axis of the targets: target, task, domain, or a tag.")] = "",
    where: Annotated[
        list[str],
        typer.Option(metavar="AXIS=VALUE", help="Only these tasks; source.AXIS or target.AXIS for one side."),
    ] = [],  # noqa: B006  (typer reads it, nothing writes it)
    protocol: Annotated[str, typer.Option(help="Say full/zero_shot.", show_default="the only one")] = "",
    value: Annotated[str, typer.Option(help="score, gain, normalised or gap.", show_default="score")] = "",
    baseline: Annotated[str, typer.Option(help="Of a gain, say majority.", show_default="the best")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the matrix as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the matrix as CSV.")] = False,
    as_latex: Annotated[bool, typer.Option("--latex", help="Print the matrix as LaTeX (booktabs).")] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Draw every matrix as PDF, SVG and PNG, too.")
    ] = False,
) -> None:
    """Render a run's report from its records: tables here, HTML, CSV, Markdown and LaTeX in RUN/report.

    With any of the options but --figures: print one matrix, and render nothing.
    """
    formats = {"--json": as_json, "--csv": as_csv, "--latex": as_latex}
    given = {"rows": rows, "cols": cols, "where": where, "protocol": protocol, "value": value}
    given = {name: option for name, option in (given | {"baseline": baseline}).items() if option}
    if given or any(formats.values()):
        if figures:
            raise SslmError("--figures draws all matrices of the report; give it without other options")
        _show_slice(run, given, [name for name, wanted in formats.items() if wanted])
        return
    from sslm_platform.report.render import Report

    report = Report.read(run)
    page = report.write(figures=figures)
    console = _stdout()
    report.print(console)
    console.print(f"report: {page}", highlight=False, soft_wrap=True)


@report_app.command()
def diff(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="A run's folder.")],
    second: Annotated[
        Path, typer.Argument(metavar="SECOND", help="The folder of the run to compare with it.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page to this file.", show_default=False)] = None,
) -> None:
    """Compare two runs: specs by key; scores and matrices, where positive is better in the second."""
    from sslm_platform.files import write_text
    from sslm_platform.report.diff import diff_runs
    from sslm_platform.report.diff_views import diff_json, diff_page, print_diff
    from sslm_platform.report.run import read_run

    found = diff_runs(read_run(first), read_run(second))
    if html is not None:
        write_text(html, diff_page(found))
    if as_json:
        typer.echo(json.dumps(diff_json(found), indent=1, ensure_ascii=False))
    else:
        print_diff(found, _stdout())


def _show_slice(run: Path, given: dict[str, Any], formats: list[str]) -> None:
    from sslm_platform.report.console import print_matrix
    from sslm_platform.report.latex import matrix_latex
    from sslm_platform.report.run import read_run
    from sslm_platform.report.slices import matrix_json, slice_run
    from sslm_platform.report.tables import matrix_csv

    if len(formats) > 1:
        raise SslmError(f"give {' or '.join(formats)}, not both")
    records = read_run(run)
    matrix = slice_run(records, **given)
    if formats == ["--json"]:
        typer.echo(json.dumps(matrix_json(matrix), indent=1, ensure_ascii=False))
    elif formats == ["--csv"]:
        typer.echo(matrix_csv(matrix), nl=False)
    elif formats == ["--latex"]:
        label = f"{matrix.protocol.replace('/', '-')}-{matrix.value}"
        typer.echo(matrix_latex(matrix, records.record.name, label), nl=False)
    else:
        print_matrix(matrix, _stdout())


def _stdout() -> Any:
    from rich.console import Console

    return Console()
