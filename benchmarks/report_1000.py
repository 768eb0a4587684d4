"""A report of a thousand runs: seconds and memory of `python train.py report`, in a process of its own.

Run folders are written first: a config, result.json, metrics.csv of 30 epochs and predictions of 2,000 samples in 10
classes each, with four options in which they differ. There is no peer: the limit is 60 s.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

LIMIT = 60.0


def write(root, runs, samples, classes):
    import torch

    from tests.helpers.runs import logits_for, write_run

    labels = torch.arange(samples) % classes
    for number in range(runs):
        config = {
            "width": 2 ** (number % 6),
            "dropout": number // 6 % 5 / 10,
            "lr": 10 ** -(1 + number // 30 % 4),
            "seed_everything": number // 120,
        }
        logits = logits_for(labels, classes, 1 + number % 120 / 60, number)
        write_run(root / f"study_{number % 2}" / f"run-{number}", logits, labels, config=config, epochs=30)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    runs = 30 if options.quick else options.runs
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root / "runs", runs, options.samples, options.classes)
        command = [sys.executable, str(Path(__file__).resolve().parent.parent / "train.py"), "report"]
        start = time.perf_counter()
        subprocess.run([*command, str(root / "runs"), "--out", str(root / "report")], check=True, capture_output=True)
        seconds = time.perf_counter() - start
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        page = (root / "report/index.html").stat().st_size
    result = {"ours": round(seconds, 1), "limit": LIMIT, "unit": "seconds", "ratio": round(LIMIT / seconds, 2)}
    result |= {"cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "runs": runs, "samples": options.samples}
    print(json.dumps(result | {"gigabytes": round(used.ru_maxrss / 2**20, 2), "page_megabytes": round(page / 1e6, 2)}))


if __name__ == "__main__":
    main()
