"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

SpecPath = Annotated[Path, typer.Argument(metavar="SPEC", help="The run's YAML file.")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="A run's folder, say runs/quickstart.")]
Overrides = Annotated[
    list[str], typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a key of the spec; repeatable.")
]
Out = Annotated[Path | None, typer.Option(help="The run's folder.", show_default="runs/NAME")]
Cache = Annotated[
    Path | None,
    typer.Option(help="Downloads and tokens.", show_default="$SSLM_CACHE, or the user's cache folder"),
]
Processes = Annotated[int, typer.Option("--nproc", min=1, help="Processes of each training.")]
Restart = Annotated[
    bool, typer.Option("--restart", help="Remove the folder's joint training, and train from the beginning.")
]
