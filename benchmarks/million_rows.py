"""A manifest of a million image files: list, check, split by group and class, and index an epoch of batches.

Both sides read the same CSV (path, label, source, group), find that every file is there, hold out a tenth of each class
for validation without dividing a group, and draw one shuffled epoch of index batches. The peer does it as one would by
hand: csv.DictReader, Path.is_file and scikit-learn's StratifiedGroupKFold. Ours knows the content key of every file as
well: the bytes are read once ever, which is timed apart, as `first_seconds`. Each run has a process of its own; seconds
are without imports, memory is the peak of the whole process. The files are tiny.
"""

import argparse
import csv
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

BATCH, CLASSES, GROUP = 256, 100, 10


def write(root, rows):
    with (root / "manifest.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "source", "group"])
        for number in range(rows):
            folder = f"{number // 1000:04d}"
            if number % 1000 == 0:
                (root / folder).mkdir()
            name = f"{folder}/{number:07d}.pgm"
            # one grey pixel; the comment makes each file another one
            (root / name).write_bytes(b"P5\n#%d\n1 1\n255\n%c" % (number, number % 256))
            group = number // GROUP
            writer.writerow([name, f"class {group % CLASSES}", f"camera {number % 7}", f"scene {group}"])


def ours(root):
    import torch

    from datamodules import Manifest

    before = peak()
    start = time.perf_counter()
    data = Manifest(
        path=str(root / "manifest.csv"), cache="none", cache_dir=str(root / "cache"), image_size=1, channels=1,
        test_fraction=0.0, val_fraction=0.1, batch_size=BATCH, num_workers=2,
    )  # fmt: skip
    sampler = data.train_dataloader().sampler
    indexed = sum(len(batch) for batch in sampler.batches())
    seconds = time.perf_counter() - start
    train, val = data.splits["train"], data.splits["val"]
    assert indexed == len(train)
    assert not torch.isin(val.groups, train.groups).any()
    return seconds, before


def peer(root):
    import numpy as np
    from sklearn.model_selection import StratifiedGroupKFold

    before = peak()
    start = time.perf_counter()
    with (root / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all((root / row["path"]).is_file() for row in rows)
    labels = np.array([row["label"] for row in rows])
    groups = np.array([row["group"] for row in rows])
    folds = StratifiedGroupKFold(10, shuffle=True, random_state=0)
    train, _ = next(folds.split(labels, labels, groups))
    order = np.random.default_rng(0).permutation(train)
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
    assert sum(map(len, batches)) == len(train)
    return time.perf_counter() - start, before


def peak():
    """Return the most memory that this process has held so far, in gigabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measured(side, root):
    command = [sys.executable, __file__, "--side", side, "--root", str(root)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer rows, for make bench")
    parser.add_argument("--side", choices=("ours", "peer"), help="measure one side over the files in --root, and end")
    parser.add_argument("--root", type=Path, help="keep the files in this folder, or take those that are there")
    options = parser.parse_args()
    if options.side:
        seconds, before = (ours if options.side == "ours" else peer)(options.root)
        print(json.dumps({"seconds": seconds, "gigabytes": peak() - before, "process": peak()}))
        return
    rows = 20_000 if options.quick else options.rows
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        if not (root / "manifest.csv").is_file():
            root.mkdir(parents=True, exist_ok=True)
            write(root, rows)
        shutil.rmtree(root / "cache", ignore_errors=True)
        first = measured("ours", root)
        print("first:", first, flush=True)
        results = {"ours": [], "peer": []}
        for repeat in range(options.repeats):
            for side, found in results.items():
                found.append(measured(side, root))
            print(f"repeat {repeat}:", {side: found[-1] for side, found in results.items()}, flush=True)
    seconds = {side: statistics.median(run["seconds"] for run in found) for side, found in results.items()}
    most = {side: max(run["gigabytes"] for run in found) for side, found in results.items()}
    process = max(run["process"] for run in results["ours"])
    result = {"ours": round(seconds["ours"], 2), "peer": round(seconds["peer"], 2), "unit": "seconds"}
    result |= {"ratio": round(seconds["peer"] / seconds["ours"], 2), "rows": rows}
    result |= {"gigabytes": round(most["ours"], 2), "peer_gigabytes": round(most["peer"], 2)}
    result |= {"process_gigabytes": round(process, 2)}
    print(json.dumps(result | {"first_seconds": round(first["seconds"], 1)}))


if __name__ == "__main__":
    main()
