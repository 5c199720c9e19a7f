"""Where the user's pip looks for packages: its configuration files and ``PIP_*`` variables."""

from __future__ import annotations

import ast
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PYPI = "https://pypi.org/simple/"

logger = logging.getLogger(__name__)

# Later sections override earlier ones, as in `pip install`.
_SECTIONS = ("global", "install", "download", ":env:")
_LINE = re.compile(r"(?P<section>:?\w+:?)\.(?P<key>[\w-]+)=(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What is needed to talk to the user's package indexes; ``timeout`` is in seconds."""

    index_urls: tuple[str, ...] = (PYPI,)
    find_links: tuple[str, ...] = ()
    trusted_hosts: tuple[str, ...] = ()
    cert: str | None = None
    client_cert: str | None = None
    proxy: str | None = None
    timeout: float = 15.0


def index_settings() -> IndexSettings:
    """Read pip's settings; without pip, the ``PIP_*`` variables alone, and PyPI where they say nothing."""
    options = parse_pip_config(_pip_config_list())
    options.update(_environment())
    return settings_from(options)


def parse_pip_config(listing: str) -> dict[str, str]:
    """Merge the output of ``pip config list`` (``section.key='value'`` lines) to option -> value."""
    merged: dict[str, str] = {}
    matches = [match for line in listing.splitlines() if (match := _LINE.fullmatch(line.strip()))]
    for section in _SECTIONS:
        for match in matches:
            if match["section"] == section:
                merged[match["key"]] = str(ast.literal_eval(match["value"]))
    return merged


def settings_from(options: Mapping[str, str]) -> IndexSettings:
    """Turn pip options into settings. Folders become ``file:`` URLs; absent ones are dropped, as in pip."""
    indexes = [options.get("index-url") or PYPI, *options.get("extra-index-url", "").split()]
    if options.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        indexes = []
    return IndexSettings(
        index_urls=tuple(url for index in indexes if (url := _as_url(index))),
        find_links=tuple(url for link in options.get("find-links", "").split() if (url := _as_url(link))),
        trusted_hosts=tuple(options.get("trusted-host", "").split()),
        cert=options.get("cert") or None,
        client_cert=options.get("client-cert") or None,
        proxy=options.get("proxy") or None,
        timeout=float(options.get("timeout") or options.get("default-timeout") or 15.0),
    )


def _as_url(location: str) -> str | None:
    if "://" in location:
        return location
    path = Path(location).expanduser().absolute()
    if not path.exists():
        logger.warning("pip is configured with %s, which does not exist", location)
        return None
    return path.as_uri()


def _pip_config_list() -> str:
    command = [sys.executable, "-m", "pip", "config", "list"]
    try:
        finished = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.info("pip's configuration cannot be read (%s); using PIP_* variables alone", error)
        return ""
    return finished.stdout


def _environment() -> dict[str, str]:
    return {
        name[4:].lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and value
    }
