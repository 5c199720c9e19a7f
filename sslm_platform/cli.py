"""The command ``sslm``. Heavy imports wait until a command needs them."""

from __future__ import annotations

import atexit
import gc
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sslm_platform.cli_ending import run_to_end
from sslm_platform.cli_options import Cache, Out, Overrides, Processes, Restart, RunPath, SpecPath
from sslm_platform.cli_prediction import add_prediction_commands
from sslm_platform.cli_report import report_app
from sslm_platform.cli_transfer import add_transfer_commands
from sslm_platform.errors import SslmError
from sslm_platform.signals import LAUNCHED

if TYPE_CHECKING:
    from sslm_platform.runs import Run

app = typer.Typer(
    help="Train one encoder on many tasks and domains, and see what transfers to what.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
transfer_app = typer.Typer(help="Transfer matrices: what does training on A do for B?", no_args_is_help=True)
app.add_typer(transfer_app, name="transfer")


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug messages.")] = False,
    # DeepSpeed's launcher adds it, and says the same in LOCAL_RANK
    _local_rank: Annotated[int, typer.Option("--local_rank", hidden=True)] = 0,
) -> None:
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
    else:
        logging.basicConfig(level=logging.WARNING, format="%(message)s")
        logging.getLogger("sslm_platform").setLevel(logging.INFO)


@app.command("run")
def run_command(
    spec: SpecPath,
    overrides: Overrides = [],  # noqa: B006  (typer reads it, nothing writes it)
    out: Out = None,
    cache: Cache = None,
    nproc: Processes = 1,
    restart: Restart = False,
) -> None:
    """Do all of a spec: train, evaluate, measure the transfer cells, render the report."""
    from sslm_platform.runs import run

    result = run(spec, out=out, cache=cache, overrides=overrides, num_processes=nproc, restart=restart)
    _show_report(result)


@app.command()
def train(
    spec: SpecPath,
    overrides: Overrides = [],  # noqa: B006
    out: Out = None,
    cache: Cache = None,
    nproc: Processes = 1,
    restart: Restart = False,
) -> None:
    """Train jointly; a killed training goes on where it was saved."""
    from sslm_platform.engine.rank import end_with_parent
    from sslm_platform.runs import launch_training, open_run

    if LAUNCHED in os.environ:
        end_with_parent()
    result = open_run(spec, out=out, cache=cache, overrides=overrides)
    if nproc > 1:
        launch_training(result, nproc, restart)  # rank 0 says where the model is
        return
    result.train(restart)
    if os.environ.get("RANK", "0") == "0":
        result.console.print(f"model: {result.path / 'train' / 'model'}", highlight=False, soft_wrap=True)


@app.command("compare-balancers")
def compare_balancers(
    spec: SpecPath,
    balancers: Annotated[
        str, typer.Option(help="Names, by commas; `tuned`: fixed weights chosen on dev.")
    ] = "tuned",
    seeds: Annotated[
        str,
        typer.Option(
            help="Seeds, by commas; at least 5, for intervals over seeds.", show_default="the spec's"
        ),
    ] = "",
    overrides: Overrides = [],  # noqa: B006
    out: Annotated[
        Path | None, typer.Option(help="Folder of all trainings.", show_default="runs/NAME-balancers")
    ] = None,
    cache: Cache = None,
    nproc: Processes = 1,
) -> None:
    """Train with the spec's balancer, `equal` and others, and compare their test scores with `equal`'s."""
    from sslm_platform.comparison import compare_balancers
    from sslm_platform.tables import comparison_tables

    names = [name.strip() for name in balancers.split(",") if name.strip()]
    try:
        numbers = [int(seed) for seed in seeds.split(",") if seed.strip()]
    except ValueError:
        raise SslmError(f"--seeds {seeds}: expected whole numbers, separated by commas") from None
    found = compare_balancers(
        spec, names, numbers, out=out, cache=cache, overrides=overrides, num_processes=nproc
    )
    for table in comparison_tables(found):
        _stdout().print(table)


@app.command("eval")
def evaluate(
    run: RunPath,
    split: Annotated[str, typer.Option(help="train, dev or test.")] = "test",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Also each class: precision, recall, F1 and how many there are.")
    ] = False,
    cache: Cache = None,
) -> None:
    """Score a run's trained model on a split, beside the constant predictor."""
    from sslm_platform.runs import load_run

    if split not in ("train", "dev", "test"):
        raise SslmError(f"--split {split}: expected train, dev or test")
    scores = load_run(run, cache=cache).evaluate(split)  # type: ignore[arg-type]
    if as_json:
        content = [score.model_dump(mode="json", exclude={"resamples"}) for score in scores]
        typer.echo(json.dumps(content, indent=1))
        return
    from sslm_platform.tables import detail_tables, score_table

    _stdout().print(score_table(scores, split), *(detail_tables(scores) if details else ()))


@app.command()
def predict(
    run: RunPath,
    task: Annotated[str, typer.Option(help="The task, say sentiment@tweets.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="Texts.")] = None,
    file: Annotated[Path | None, typer.Option(help="One text a line; blank lines are left out.")] = None,
    jsonl: Annotated[
        bool,
        typer.Option(
            "--jsonl",
            help="Lines are JSON objects of the task's fields, as in a file named .jsonl.",
        ),
    ] = False,
    scheme: Annotated[str, typer.Option(help="How tags are written: bio, iob1, iobes, io or word.")] = "bio",
    candidates: Annotated[
        Path | None,
        typer.Option(
            help="Of a task that ranks: a file with one candidate a line.", show_default="the stream's"
        ),
    ] = None,
) -> None:
    """Answer for texts (arguments, a file, or standard input): JSON Lines, or a table on a terminal."""
    from sslm_platform.engine.threads import use_threads
    from sslm_platform.runs import load_run
    from sslm_platform.tables import prediction_table

    use_threads()
    inputs = _inputs(texts or [], file, jsonl)
    if scheme not in (known := ("bio", "iob1", "iobes", "io", "word")):
        raise SslmError(f"--scheme {scheme}: expected one of {', '.join(known)}")
    pool = (
        None if candidates is None else [line for line in _lines(candidates, "--candidates") if line.strip()]
    )
    answers = load_run(run).predict(inputs, task, pool, scheme)  # type: ignore[arg-type]
    if sys.stdout.isatty():
        _stdout().print(prediction_table(answers))
    else:
        for answer in answers:
            typer.echo(json.dumps(answer, ensure_ascii=False))


add_transfer_commands(transfer_app)
add_prediction_commands(transfer_app)
app.add_typer(report_app, name="report")


@app.command()
def plugins(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One definition: what it is, and its options.", show_default=False
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    strict: Annotated[bool, typer.Option(help="Exit with 2 if a plugin failed to load.")] = False,
) -> None:
    """List what the installed plugins define, and the plugins that failed to load."""
    from sslm_platform.plugins import host
    from sslm_platform.tables import definition_tables, plugin_facts, plugin_tables

    found = host()
    if as_json:
        typer.echo(json.dumps(plugin_facts(found), indent=1))
    else:
        for part in plugin_tables(found) if name is None else definition_tables(found, name):
            _stdout().print(part)
    if strict and found.failures:
        raise SslmError(
            *(f"plugin {f.provenance.plugin!r} failed to load: {f.reason}" for f in found.failures)
        )


@app.command()
def check(
    spec: SpecPath,
    overrides: Overrides = [],  # noqa: B006
    data: Annotated[bool, typer.Option("--data", help="Read the data and the tokenizer too.")] = False,
    cache: Cache = None,
) -> None:
    """Find every mistake in a spec that can be found without training."""
    from sslm_platform.runs import open_run

    result = open_run(spec, cache=cache, overrides=overrides)
    if data:
        from sslm_platform.train.job import joint_content

        for warning in result.corpus.warnings:
            result.console.print(f"[yellow]warning[/yellow] {warning}", highlight=False, soft_wrap=True)
        result.plan_transfer()
        joint_content(result.corpus, result.resolved.spec.seed)  # reads the files that options name
    resolved = result.resolved
    typer.echo(f"{spec}: ok ({len(resolved.spec.streams)} streams, {len(resolved.tasks)} tasks)")


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="Write to this file.", show_default=False)] = None,
) -> None:
    """Write the specs' JSON Schema, with which editors complete and check them."""
    from sslm_platform.files import write_text
    from sslm_platform.spec.schema import RunSpec

    text = json.dumps(RunSpec.model_json_schema(), indent=1) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)


def main() -> None:
    """Run the command line; an error that input caused is one message and exit code 2."""
    # Threads that spin while they wait make a step up to ten times slower when another process takes a core.
    # OpenMP reads this when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imports make millions of objects that stay; to look for garbage among them takes a second.
    gc.set_threshold(20_000, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)  # nor does the interpreter, when it ends, which takes another second
    run_to_end(app)


def _show_report(run: Run) -> None:
    from sslm_platform.report.render import Report

    console = _stdout()
    (run.rendered or Report.read(run.path)).print(console)
    console.print(f"report: {run.path / 'report' / 'index.html'}", highlight=False, soft_wrap=True)


def _stdout() -> Any:
    from rich.console import Console

    return Console()


def _inputs(texts: list[str], file: Path | None, jsonl: bool) -> list[Any]:
    if texts and file is not None:
        raise SslmError("give texts or --file, not both")
    if file is not None:
        texts, jsonl = _lines(file, "--file"), jsonl or file.suffix == ".jsonl"
    elif not texts:
        texts = [line.rstrip("\r") for line in sys.stdin.read().split("\n")]
    else:
        return [_json_line(text, number) if jsonl else text for number, text in enumerate(texts, 1)]
    numbered = [(number, text) for number, text in enumerate(texts, 1) if text.strip()]
    return [_json_line(text, number) if jsonl else text for number, text in numbered]


def _lines(file: Path, option: str) -> list[str]:
    """Split at line feeds only: a text may hold other line separators, such as U+2028."""
    if not file.is_file():
        raise SslmError(f"{option} {file}: no such file")
    try:
        return [line.rstrip("\r") for line in file.read_text(encoding="utf-8").split("\n")]
    except UnicodeDecodeError as error:
        raise SslmError(f"{option} {file}: not UTF-8 text: {error}") from None


def _json_line(line: str, number: int) -> Any:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise SslmError(f"line {number}: not JSON: {error}") from None
    if not isinstance(value, dict):
        raise SslmError(f"line {number}: expected a JSON object")
    return value
