import pytest

from sslm_platform.plugins import host
from sslm_platform.testing import checks_of

OWN = [
    entry.definition
    for name in host().registry.estimators
    if (entry := host().registry.estimators.get(name)).provenance.distribution == "sslm-transferability"
]
CHECKS = [check for definition in OWN for check in checks_of(definition)]


def test_there_is_something_to_check():
    assert len(OWN) == 12


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_estimator(check):
    check()
