import pytest

from sslm_platform.plugins import host
from sslm_platform.testing import checks_of

ENTRIES = {n: host().registry.metrics.get(n) for n in host().registry.metrics}
DEFINITIONS = [e.definition for e in ENTRIES.values() if e.provenance.plugin == "sslm-metrics"]

OPTIONS = {
    "quadratic_kappa": {"order": ["negative", "neutral", "positive"]},
    "relation_f1": {"negative": "neutral"},
    "semeval_relation_f1": {"negative": "neutral"},
}


@pytest.mark.parametrize(
    "check", [pytest.param(c, id=c.id) for d in DEFINITIONS for c in checks_of(d, OPTIONS.get(d.name))]
)
def test_metric(check):
    check()
