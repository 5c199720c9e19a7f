import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from sslm_platform.engine.memory import keep_freed_memory
{before}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):  # 48 MiB, as the gradient of an embedding matrix; the heap takes some to settle
    torch.ones(12 << 20)
began = faults()
for _ in range(10):
    torch.ones(12 << 20)
print(faults() - began)
"""


def faults(before, **environment):
    program = PROGRAM.format(before=before)
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_a_large_block_is_reused_unless_the_environment_says_how(monkeypatch):
    import os

    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_TUN"))}
    assert faults("", **clean) > 10_000
    assert faults("assert keep_freed_memory()", **clean) < 1000
    assert faults("assert not keep_freed_memory()", **clean, MALLOC_ARENA_MAX="4") > 10_000
