"""The planted benchmark: synthetic tasks whose transfer is known by definition, and a score for estimators.

>>> from sslm_platform.testing import planted
>>> planted.score("label_embedding").kendall  # doctest: +SKIP
"""

from sslm_platform.testing.planted.recovery import Recovery, recovery
from sslm_platform.testing.planted.spec import run_spec, write_world
from sslm_platform.testing.planted.world import PlantedTask, World
from sslm_platform.testing.planted.worlds import domains, tasks
from sslm_platform.testing.planted.yardstick import Score, finds_groups, score, score_matrix

__all__ = [
    "PlantedTask",
    "Recovery",
    "Score",
    "World",
    "domains",
    "finds_groups",
    "recovery",
    "run_spec",
    "score",
    "score_matrix",
    "tasks",
    "write_world",
]
