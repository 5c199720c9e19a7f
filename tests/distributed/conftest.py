import os
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Return a function that runs a script in some processes, and fails with what they said."""
    folder = tmp_path_factory.mktemp("ranks")
    bare = folder / "bin"  # no compiler and no ninja: nothing may need to be built
    bare.mkdir()
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "DS_", "CC", "CXX"))},
        "OMP_NUM_THREADS": "1",
        "PATH": str(bare),
        "TORCH_EXTENSIONS_DIR": str(folder / "extensions"),
        "HF_HUB_OFFLINE": "1",
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--local-addr=localhost"]

    def run(processes, script, *arguments):
        ranks = [*launcher, f"--nproc-per-node={processes}"] if processes > 1 else []
        command = [sys.executable, *ranks, str(script), *map(str, arguments)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=900, check=False
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert "Warning" not in done.stderr, done.stderr[-4000:]
        assert done.stdout == "", "DeepSpeed's chatter got through"
        assert not (folder / "extensions").exists(), "something was compiled"

    return run
