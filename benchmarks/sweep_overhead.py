"""What a study pays beside its training: small cells on two workers, forked warm and started cold.

Overhead is the wall time from the first cell's start to the last one's end, over the cells' own training time divided
by the workers. Ours are cells that are forked from one process which has imported torch and this project; the peer
starts a process for each. Both run the same cells, one after the other, in this order. The imports of the command
itself, and the parsing of the plan, come before the first cell and are in neither.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def study(folder, cells, epochs, workers, warm):
    """Run a study; return its overhead, its wall time and the seconds of training of a cell."""
    plan = {
        "experiment": "warm" if warm else "cold",
        "root": str(folder),
        "fragments": [str(REPOSITORY / "configs/data/digits.yaml"), str(REPOSITORY / "configs/trainer/cpu.yaml")],
        "options": {"model": "SmallCNN", "trainer.max_epochs": epochs, "trainer.enable_model_summary": False},
        "seeds": cells,
        "split": "val",
        "page": False,
        "executor": {"class_path": "LocalExecutor", "init_args": {"jobs": workers, "warm": warm}},
    }
    path = folder / "plan.yaml"
    path.write_text(json.dumps(plan))
    command = [sys.executable, str(REPOSITORY / "train.py"), "sweep", "--config", str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    runs = folder / plan["experiment"]
    records = [json.loads(file.read_text()) for file in sorted((runs / "cells").glob("*.json"))]
    training = [json.loads((runs / record["cell"] / "result.json").read_text())["fit"]["seconds"] for record in records]
    wall = max(record["finished"] for record in records) - min(record["started"] for record in records)
    return wall / (sum(training) / workers), wall, statistics.median(training)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=12, help="about two seconds of training on one core")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="four cells, for make bench")
    options = parser.parse_args()
    cells = 4 if options.quick else options.cells
    folder = Path(tempfile.mkdtemp())
    try:
        ours, wall, seconds = study(folder, cells, options.epochs, options.workers, warm=True)
        peer, cold_wall, cold_seconds = study(folder, cells, options.epochs, options.workers, warm=False)
    finally:
        shutil.rmtree(folder)
    print(
        f"{cells} cells on {options.workers} workers; median seconds of training {seconds:.2f}, cold {cold_seconds:.2f}"
    )
    print(f"warm: {wall:.1f} s, {ours:.2f} times the training; cold: {cold_wall:.1f} s, {peer:.2f} times")
    print(json.dumps({"ours": ours, "peer": peer, "unit": "wall over training", "ratio": cold_wall / wall}))


if __name__ == "__main__":
    main()
