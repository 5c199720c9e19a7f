"""What each ZeRO stage keeps on this rank, counted by the benchmark; usage: memory.py FOLDER"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import zero_memory

SMALL = {"vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 6, "intermediate_size": 128}
BUCKET = 20_000  # elements; no parameter has more


def main():
    zero_memory.ENCODER |= SMALL
    for section in (zero_memory.CONFIG, zero_memory.STAGE_3):
        section |= {key: BUCKET for key in section if key.endswith("bucket_size")}
    for stage in zero_memory.STAGES:
        folder = Path(sys.argv[1]) / str(stage)
        folder.mkdir(exist_ok=True)
        zero_memory.measure(stage, folder)


if __name__ == "__main__":
    main()
