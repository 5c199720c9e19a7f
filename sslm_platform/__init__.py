"""Multi-task learning of language models: train one encoder jointly, see what transfers to what.

``sslm_platform.run("spec.yaml")`` does all of a spec; ``load_run("runs/name").predict([...], task=...)`` uses
what it made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sslm_platform.runs import Run, load_run, run

__version__ = "0.1.0"
__all__ = ["Run", "__version__", "load_run", "run"]


def __getattr__(name: str) -> Any:
    """Import on first use: plugins import this package, and must not wait for what they don't need."""
    if name in __all__:
        from sslm_platform import runs

        return getattr(runs, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
