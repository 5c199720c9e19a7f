"""Read ``train/metrics.jsonl``: one JSON object a line, of kind ``step`` or ``evaluation``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslm_platform.errors import Problem, RunError

Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Curves:
    """Steps and evaluations of the joint run, in order of their step, each step once."""

    steps: tuple[Line, ...] = ()
    evaluations: tuple[Line, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that had a loss, in order of name."""
        return tuple(sorted({task for line in self.steps for task in line["losses"]}))

    @property
    def seconds(self) -> float:
        """Time in optimizer steps, without evaluations."""
        return float(sum(line["seconds"] for line in self.steps))

    @property
    def num_tokens(self) -> int:
        """Real tokens (without padding) that were trained on."""
        return int(sum(line["num_tokens"] for line in self.steps))

    @property
    def num_padded_tokens(self) -> int:
        """Tokens that were computed, padding included."""
        return int(sum(line["num_padded_tokens"] for line in self.steps))


def read_curves(path: Path) -> Curves:
    """Read the metrics of a run; a run without them has empty curves.

    A killed run may end in a part of a line, which is left out. A resumed one may repeat the steps since its
    last checkpoint: the later line counts.

    Raises:
        RunError: a line before the last is not a JSON object with a step.
    """
    if not path.is_file():
        return Curves()
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    last = max((number for number, line in enumerate(lines) if line.strip()), default=0)
    kinds: dict[str, dict[int, Line]] = {"step": {}, "evaluation": {}}
    for number, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            kinds[content["kind"]][content["step"]] = content
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            if number == last:
                break
            where = f"{path}:{number + 1}"
            raise RunError(Problem(where, f"not a metrics line ({error!r}): {line[:80]}")) from None
    return Curves(*(tuple(lines for _, lines in sorted(kinds[kind].items())) for kind in kinds))
