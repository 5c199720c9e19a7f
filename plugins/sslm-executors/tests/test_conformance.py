"""The built-in executors keep the rules of executors."""

import pytest

from sslm_platform.testing import parametrize_with_checks

pytestmark = pytest.mark.distributed


@parametrize_with_checks("serial")
def test_serial(check):
    check()


@parametrize_with_checks("processes", options={"workers": 3})
def test_processes(check):
    check()
