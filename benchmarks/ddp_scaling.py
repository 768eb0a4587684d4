"""What a second process brings: two processes of one thread against one of one thread, for the same global batch.

Efficiency is images a second of two processes over twice those of one; at least 0.85 is wanted for ResNet-18. The first
epoch of each run warms up and is left out; runs of one and of two processes take turns, and medians are compared. With
`--accelerator gpu` it is all GPUs of this machine against one.

The losses of the same global batch must be the same. BatchNorm sees images of its own process, so these are compared
for a vision transformer of two blocks, which has none, without augmentation: the largest difference of the training
loss of an epoch, relative to the loss, may be `TOLERANCE`. At the end stands what the formulas of docs/cluster.md need:
the bytes of the gradients, of a checkpoint and of what an evaluation gathers.
"""

import argparse
import csv
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
WANTED, TOLERANCE = 0.85, 1e-3
RESNET = ("--config", str(REPOSITORY / "configs/model/resnet18.yaml"))
TRANSFORMER = (
    *("--config", str(REPOSITORY / "configs/model/vit_tiny.yaml"), "--data.augmentation", "[]"),
    *("--model.options", "{patch_size: 4, depth: 2}"),
)


def write_images(path, batches, batch):
    """Write images of the shape of CIFAR-10: whole batches, so that all processes take as many steps."""
    import numpy as np

    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", batches * batch), ("val", batch), ("test", batch)):
        labels = rng.integers(0, 10, count)
        noise = rng.integers(0, 200, (count, 32, 32, 3))
        arrays |= {f"x_{split}": (noise + 5 * labels[:, None, None, None]).astype(np.uint8), f"y_{split}": labels}
    np.savez(path, **arrays)


def fit(folder, name, processes, options, *words):
    """Train; return the run's result and folder."""
    environment = os.environ | ({"OMP_NUM_THREADS": "1"} if options.accelerator == "cpu" else {})
    command = [
        *(
            sys.executable,
            str(REPOSITORY / "train.py"),
            "fit",
            "--data",
            "Npz",
            "--data.path",
            str(folder / "data.npz"),
        ),
        *("--data.batch_size", str(options.batch), *words),
        *("--trainer.accelerator", options.accelerator, "--trainer.devices", str(processes)),
        *("--trainer.strategy", "ddp" if processes > 1 else "auto", "--trainer.max_epochs", str(options.epochs)),
        *("--trainer.enable_progress_bar", "false", "--trainer.num_sanity_val_steps", "0"),
        *("--run.root", str(folder), "--run.experiment", "scaling", "--run.name", name),
    ]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    run = folder / "scaling" / name
    return json.loads((run / "result.json").read_text()), run


def losses(run):
    """The training loss of each epoch."""
    rows = csv.DictReader((run / "metrics.csv").read_text().splitlines())
    return [float(row["train/loss"]) for row in rows if row.get("train/loss")]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--accelerator", choices=("cpu", "gpu"), default="cpu")
    parser.add_argument("--batch", type=int, default=128, help="images of a step, over all processes")
    parser.add_argument("--batches", type=int, default=12, help="of an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--width", type=float, default=1.0, help="of ResNet-18; other widths are no evidence")
    parser.add_argument("--quick", action="store_true", help="narrow, few images, once: for make bench")
    options = parser.parse_args()
    if options.quick:
        options.batches, options.epochs, options.repeats, options.width = 3, 2, 1, 0.125
    many = 2
    if options.accelerator == "gpu":
        import torch

        many = torch.cuda.device_count()
        if many < 2:
            sys.exit("needs several GPUs")
    folder = Path(tempfile.mkdtemp())
    try:
        write_images(folder / "data.npz", options.batches, options.batch)
        speeds = {1: [], many: []}
        for repeat in range(options.repeats):
            for processes, found in speeds.items():
                words = (*RESNET, "--model.width", str(options.width))
                result, run = fit(folder, f"resnet-{processes}-{repeat}", processes, options, *words)
                found.append(result["fit"]["images_per_second"])
        parameters, samples = result["parameters"], sum(result["samples"].values())
        sizes = {name: (run / f"checkpoints/{name}.ckpt").stat().st_size for name in ("best", "last")}
        runs = [fit(folder, f"vit-{processes}", processes, options, *TRANSFORMER)[1] for processes in speeds]
        one, several = map(losses, runs)
    finally:
        shutil.rmtree(folder)
    difference = max(abs(a - b) / abs(a) for a, b in zip(one, several, strict=True))
    alone, together = (statistics.median(found) for found in speeds.values())
    efficiency = together / (many * alone)
    print(f"ResNet-18, batch {options.batch}: {alone:.1f} images/s in 1 process, {together:.1f} in {many}")
    print(f"efficiency {efficiency:.3f} (wanted: at least {WANTED})")
    said = "same" if difference <= TOLERANCE else "NOT the same"
    print(f"losses of {len(one)} epochs of a vision transformer: {said}, by at most {difference:.1e} of the loss")
    print(f"gradients {4 * parameters:,} bytes; best.ckpt {sizes['best']:,}, last.ckpt {sizes['last']:,} bytes")
    print(f"an evaluation gathers {8 + 8 + 4 * 10} bytes an image, {samples:,} images here")
    summary = {"ours": together, "peer": many * alone, "unit": "images/s", "ratio": round(efficiency, 3)}
    print(json.dumps({**summary, "loss_difference": difference, "case": f"{many} processes"}))
    if difference > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
