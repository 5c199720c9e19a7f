"""Run all benchmarks, or those that are named, one after the other; then write the table of their results.

python benchmarks/run.py [--quick] [NAME ...]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from table import write_table

FOLDER = Path(__file__).parent
BENCHMARKS = (
    *("overhead", "profile_steps", "startup", "input_pipeline", "balancers", "trainers", "time_to_score"),
    *("transfer_cost", "planted", "adapting", "robustness", "forgetting"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=[name for name in BENCHMARKS if script(name).exists()])
    parser.add_argument("--quick", action="store_true", help="see that they run; nothing is written")
    options = parser.parse_args()
    failed = []
    for name in options.names:
        print(f"== {name}", flush=True)
        command = [sys.executable, str(script(name)), *(["--quick"] if options.quick else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if not options.quick:
        write_table()
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def script(name: str) -> Path:
    return FOLDER / f"{name}.py"


if __name__ == "__main__":
    main()
