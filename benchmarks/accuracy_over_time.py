"""Test accuracy after some minutes of fine-tuning from ImageNet weights: one command against a plain loop over timm.

Both sides fine-tune EfficientNet-Lite0 at 96 pixels on JPEGs in class folders, in batches of 64, by AdamW with channels
last, the backbone at 0.3 times the head's learning rate, and choose the epoch on 4 % of the training images.
The test images are looked at once for each time limit, after that. A limit counts everything from the start of the
process to its end: imports, reading, training, validation and test.

Ours is `train.py stack --config configs/stack/minutes_lite0.yaml`, which fits a head on frozen embeddings, fine-tunes
from there, and tests what it keeps; it also writes its whole report. Of its limit it trains what `--overhead` leaves.
The peer is what one writes by hand: timm's create_model and create_transform, a DataLoader with workers, a warm-up and
a cosine over what its limit leaves for training; it measures how long its evaluation takes. A side that ends after its
limit is run again with the excess taken off; a result counts only if it was in time. What was left of a limit is added
to the side's training in the next one. The sides take turns in going first. The last line holds the limit with the
lowest ratio of test accuracies, and all of them.
"""

import argparse
import copy
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CLASSES, VAL_SHARE, BATCH, LR, BACKBONE, DECAY, WARMUP = 10, 0.04, 64, 0.001, 0.3, 0.05, 0.05
MEAN = STD = (0.5, 0.5, 0.5)
# runs of a side that ended too late are tried so often; runs are to end so many seconds before their limit
ATTEMPTS, MARGIN = 3, 4
# what else a side must do in its time after its last evaluation, in seconds, and how much longer an evaluation may take
EXIT, SLACK = 2.0, 1.2


# the peer


def peer(arguments):
    """Fine-tune by a plain loop until the time is over; print what the test says."""
    start = time.monotonic() - arguments["since_start"]
    import timm
    import torch
    from timm.data import create_transform
    from torch.utils.data import DataLoader, Subset
    from torchvision.datasets import ImageFolder

    torch.manual_seed(0)
    size = arguments["size"]
    how = {"mean": MEAN, "std": STD, "interpolation": "bilinear"}
    train_transform = create_transform(size, is_training=True, scale=(0.5, 1.0), color_jitter=None, **how)
    test_transform = create_transform(size, crop_pct=1.0, **how)
    root, workers = Path(arguments["data"]), arguments["workers"]
    train, val = ImageFolder(root / "train", train_transform), ImageFolder(root / "train", test_transform)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()
    held_out = max(CLASSES, round(VAL_SHARE * len(order)))
    train, val = Subset(train, order[held_out:]), Subset(val, order[:held_out])
    loader = DataLoader(train, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True)
    test = ImageFolder(root / "test", test_transform)
    val_loader, test_loader = (DataLoader(part, 4 * BATCH, num_workers=workers) for part in (val, test))

    model = timm.create_model("tf_efficientnet_lite0", num_classes=CLASSES)
    # the published file names its tensors otherwise, in the same order
    weights = torch.load(arguments["weights"], weights_only=True)
    own = [name for name in model.state_dict() if not name.startswith("classifier.")]
    model.load_state_dict(dict(zip(own, weights.values(), strict=False)), strict=False)
    model = model.to(memory_format=torch.channels_last)
    head = list(model.get_classifier().parameters())
    known = {id(p) for p in head}
    groups = [{"params": head, "lr": LR}]
    groups.append({"params": [p for p in model.parameters() if id(p) not in known], "lr": LR * BACKBONE})
    optimizer = torch.optim.AdamW(groups, weight_decay=DECAY)
    rates = [group["lr"] for group in optimizer.param_groups]

    def predict(images):
        return model(images.contiguous(memory_format=torch.channels_last))

    @torch.inference_mode()
    def accuracy(batches):
        model.eval()
        right = [predict(images).argmax(1) == labels for images, labels in batches]
        return float(torch.cat(right).double().mean())

    tried = time.monotonic()
    trial = Subset(val, range(min(len(val), 8 * BATCH)))
    accuracy(DataLoader(trial, 4 * BATCH, num_workers=workers))
    a_sample = (time.monotonic() - tried) / len(trial)
    reserve = SLACK * a_sample * (len(val) + len(test)) + EXIT + arguments["excess"]
    begun = time.monotonic()
    limit = arguments["training_seconds"] or start + arguments["seconds"] - reserve - begun
    best, best_state, seen, done = -1.0, None, 0, 0.0
    while done < 1:
        model.train()
        for images, labels in loader:
            done = (time.monotonic() - begun) / limit
            if done >= 1:
                break
            factor = done / WARMUP if done < WARMUP else 0.5 + 0.5 * math.cos(math.pi * (done - WARMUP) / (1 - WARMUP))
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(predict(images), labels).backward()
            optimizer.step()
            seen += len(labels)
        if (found := accuracy(val_loader)) > best:
            best, best_state = found, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    print(json.dumps({"accuracy": accuracy(test_loader), "val_accuracy": best, "images": seen}))


def run_peer(options, seconds, excess, folder):
    asked = {
        "data": str(options.data),
        "weights": str(options.weights),
        "size": options.size,
        "workers": options.workers,
        "seconds": seconds,
        "excess": excess,
        "training_seconds": options.training_seconds,
        # from here to its first line
        "since_start": 0.1,
    }
    return json.loads(output([sys.executable, __file__, "--peer", json.dumps(asked)]).splitlines()[-1])


# ours


def run_ours(options, seconds, excess, folder):
    training = options.training_seconds or max(1, math.floor(seconds - options.overhead - excess))
    minutes, rest = divmod(training, 60)
    words = ["stack", "--config", "configs/stack/minutes_lite0.yaml", "--root", str(folder)]
    words += ["--logit_cache", str(folder / "logits"), "--options.model.frozen_cache", str(folder / "logits")]
    words += ["--options.data.root", str(options.data), "--options.data.cache_dir", str(folder / "images")]
    words += ["--options.model.weights", str(options.weights), "--options.model.input_size", str(options.size)]
    words += ["--options.trainer.max_time", f"00:{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"]
    output([sys.executable, "train.py", *words])
    result = json.loads((folder / "minutes_lite0/stack/result.json").read_text())
    models = {row["name"]: row["metrics"]["accuracy"]["value"] for row in result["stack"]["models"]}
    return {"accuracy": result["test"]["accuracy"], "kept": result["kept"], "models": models, "training": training}


def output(command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}")
    return done.stdout


# both


def in_time(side, run, options, seconds, excess):
    """Run a side until it ends in time; return what it found, with its seconds, and the excess to take off the next."""
    for _ in range(ATTEMPTS):
        with tempfile.TemporaryDirectory() as folder:
            start = time.monotonic()
            found = run(options, seconds, excess, Path(folder))
            found["seconds"] = round(time.monotonic() - start, 1)
        excess += found["seconds"] - seconds + MARGIN
        if options.training_seconds or found["seconds"] <= seconds:
            return found, excess
        print(f"{side}: {found['seconds']} s are more than {seconds:g}; again with less training", flush=True)
    sys.exit(f"{side} has ended after {seconds:g} s in {ATTEMPTS} attempts: give it more --minutes")


def generate(folder):
    """Write JPEGs that tell their classes by a colour, and weights drawn at random."""
    import numpy as np
    import timm
    import torch
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 30), ("test", 6)):
        for label in range(CLASSES):
            place = folder / split / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 128, (32, 32, 3)) + 12 * label
                Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:04d}.jpg")
    torch.save(timm.create_model("tf_efficientnet_lite0").state_dict(), folder / "lite0.pth")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0, 15.0, 60.0])
    parser.add_argument("--data", type=Path, default=REPOSITORY / "data/cifar10-jpeg", help="train and test folders")
    parser.add_argument("--weights", type=Path, default=REPOSITORY / "data/weights/efficientnet_lite0.pth")
    parser.add_argument("--size", type=int, default=96, help="height and width that the network works at")
    parser.add_argument("--workers", type=int, default=2, help="of the peer's DataLoader")
    parser.add_argument("--overhead", type=int, default=150, help="first guess of ours beside fine-tuning, in seconds")
    parser.add_argument(
        "--quick", action="store_true", help="one second of training on generated images, for make bench"
    )
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peer:
        peer(json.loads(options.peer))
        return
    options.data, options.weights = options.data.absolute(), options.weights.absolute()
    options.training_seconds = 1 if options.quick else None
    with tempfile.TemporaryDirectory() as folder:
        if options.quick:
            generate(Path(folder))
            options.data, options.weights, options.size = Path(folder), Path(folder) / "lite0.pth", 32
            options.minutes = options.minutes[:1]
        compare(options)


def compare(options):
    sides, results = {"ours": run_ours, "peer": run_peer}, {}
    excess = dict.fromkeys(sides, 0.0)
    for number, minutes in enumerate(options.minutes):
        order = list(sides)[:: 1 if number % 2 == 0 else -1]
        found = {}
        for side in order:
            found[side], excess[side] = in_time(side, sides[side], options, 60 * minutes, excess[side])
        ours, theirs = (found[side]["accuracy"] for side in ("ours", "peer"))
        results[f"{minutes:g}"] = found | {"ratio": round(ours / max(theirs, 1e-9), 4)}
        limit = "one second of training" if options.quick else f"{minutes:g} minutes"
        print(f"{limit}: ours {ours:.4f}, peer {theirs:.4f}", flush=True)
        print(json.dumps(found), flush=True)
    worst = min(results, key=lambda name: results[name]["ratio"])
    accuracies = {side: round(results[worst][side]["accuracy"], 4) for side in sides}
    line = {**accuracies, "unit": "test accuracy", "ratio": results[worst]["ratio"]}
    line |= {"training_seconds": options.training_seconds} if options.quick else {"minutes": float(worst)}
    print(json.dumps({**line, "all": results}))


if __name__ == "__main__":
    main()
