"""The executor on a Ray of one machine; without Ray, what the user is told."""

import importlib.util

import pytest
from sslm_ray import RayOptions

from sslm_platform.plugins import host
from sslm_platform.testing import parametrize_with_checks

HAS_RAY = importlib.util.find_spec("ray") is not None


@pytest.mark.distributed
@pytest.mark.skipif(not HAS_RAY, reason="pip install 'sslm-ray[ray]'")
@pytest.mark.filterwarnings("default")  # Ray's own
@parametrize_with_checks("ray", options={"workers": 2})
def test_ray(check):
    check()


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_error_says_what_to_install():
    definition = host().registry.executors.get("ray").definition
    with pytest.raises(ValueError, match=r"pip install 'sslm-ray\[ray\]'"):
        definition.build(RayOptions())
