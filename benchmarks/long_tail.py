"""Losses and samplers on long-tailed training data, over several seeds: mean and spread of balanced accuracy.

Each cell is one `train.py fit` and one `train.py test`, SmallCNN with the same number of optimizer steps, on class
folders of images whose training split is thinned out exponentially; nothing is held out for validation, and the last
epoch is tested on the whole, balanced test split. Finished cells are not run again. Ours is the better of balanced
softmax and logit adjustment, the peer plain cross-entropy.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from safetensors.torch import load_file

METHODS = {
    "cross-entropy": [],
    "label smoothing 0.1": ["--model.loss.label_smoothing=0.1"],
    "weighted CE, inverse": ["--model.loss.class_weights=inverse"],
    "class-balanced CE": ["--model.loss.class_weights=effective"],
    "focal": ["--model.loss=Focal"],
    "class-balanced focal": ["--model.loss=Focal", "--model.loss.class_weights=effective"],
    "balanced softmax": ["--model.loss=BalancedSoftmax"],
    "logit adjusted, tau 1.5": ["--model.loss=LogitAdjusted", "--model.loss.tau=1.5"],
    "CE, sampler balanced": ["--data.sampler=balanced"],
    "CE, sampler sqrt": ["--data.sampler=sqrt"],
    "CE, sampler undersample": ["--data.sampler=undersample"],
}
REPOSITORY = Path(__file__).resolve().parent.parent
# evaluated on the checkpoints of plain cross-entropy
POST_HOC = "CE, logits adjusted at test"


def train(*words, threads):
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, str(REPOSITORY / "train.py"), *map(str, words), "--trainer.enable_progress_bar=false"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def cell(run, options, data, epochs, seed, threads, steps=None):
    """Train and test one cell unless it is there; return its folder."""
    if not (run / "result.json").is_file():
        # an interrupted one starts anew
        shutil.rmtree(run, ignore_errors=True)
        names = [f"--run.root={run.parent.parent}", f"--run.experiment={run.parent.name}", f"--run.name={run.name}"]
        length = [f"--trainer.max_epochs={epochs}", f"--seed_everything={seed}", "--trainer.enable_model_summary=false"]
        if steps:
            length += ["--trainer.max_epochs=-1", f"--trainer.max_steps={steps}"]
        train("fit", *data, *options, *names, *length, threads=threads)
    if "test" not in json.loads((run / "result.json").read_text()):
        train("test", f"--ckpt_path={run / 'checkpoints/last.ckpt'}", threads=threads)
    return run


def post_hoc(run, threads):
    """Test a checkpoint with adjusted logits, in a folder of its own; return that."""
    adjusted = run.with_name(run.name + "-adjusted")
    if not adjusted.is_dir():
        (adjusted / "checkpoints").mkdir(parents=True)
        (adjusted / "checkpoints/last.ckpt").hardlink_to(run / "checkpoints/last.ckpt")
    if not (adjusted / "result.json").is_file():
        train(
            "test", f"--ckpt_path={adjusted / 'checkpoints/last.ckpt'}", "--model.logit_adjustment=1", threads=threads
        )
    return adjusted


def measures(run):
    """Accuracy of many-, medium- and few-shot thirds of the classes beside the metrics of result.json."""
    test = json.loads((run / "result.json").read_text())["test"]
    saved = load_file(run / "predictions.safetensors")
    labels, predicted = saved["test/label"].numpy(), saved["test/logits"].argmax(1).numpy()
    per_class = [(predicted[labels == c] == c).mean() for c in range(labels.max() + 1)]
    many, medium, few = (part.mean() for part in np.array_split(per_class, 3))
    return {"balanced": test["balanced_accuracy"], "many": many, "medium": medium, "few": few, "nll": test["nll"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="class folders; none takes the embedded digits")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--ratio", type=float, default=100)
    parser.add_argument("--workers", type=int, default=1, help="cells at a time")
    parser.add_argument("--quick", action="store_true", help="digits, two methods, one seed, for make bench")
    options = parser.parse_args()
    methods, seeds, epochs, ratio = METHODS, options.seeds, options.epochs, options.ratio
    if options.quick:
        methods = {name: METHODS[name] for name in ("cross-entropy", "balanced softmax")}
        seeds, epochs, ratio = 1, 10, 20
    data = ["--model=SmallCNN", "--data=ImageFolder", f"--data.root={options.root}", "--data.cache=disk"]
    data = data if options.root else ["--model=SmallCNN", "--data=Digits"]
    data += ["--data.val_fraction=0.0", "--data.long_tail=exponential", f"--data.imbalance_ratio={ratio:g}"]
    source = Path(options.root).name if options.root else "digits"
    folder = (options.runs / f"{source}_lt{ratio:g}_{epochs}_epochs").absolute()
    threads = max(1, (os.cpu_count() or 1) // options.workers)

    def run(name, seed):
        slug = "".join(c if c.isalnum() else "_" for c in name.lower())
        path = cell(folder / f"{slug}-seed{seed}", methods[name], data, epochs, seed, threads, steps.get(name))
        return {name: path, **({POST_HOC: post_hoc(path, threads)} if name == "cross-entropy" else {})}

    steps = {}
    # an undersampled epoch is short: it gets as many optimizer steps as the others
    whole = run("cross-entropy", 0)["cross-entropy"]
    steps["CE, sampler undersample"] = json.loads((whole / "result.json").read_text())["fit"]["steps"]
    with ThreadPoolExecutor(options.workers) as pool:
        # seed by seed, so that an interrupted study can be compared
        done = list(pool.map(run, *zip(*[(name, seed) for seed in range(seeds) for name in methods], strict=True)))
    results = {}
    for paths in done:
        for name, path in paths.items():
            results.setdefault(name, []).append(measures(path))
    print(f"{'method':30} balanced accuracy    many   medium  few     NLL   ({seeds} seeds, {epochs} epochs)")
    for name, rows in sorted(results.items(), key=lambda item: -statistics.mean(r["balanced"] for r in item[1])):
        mean = {key: statistics.mean(row[key] for row in rows) for key in rows[0]}
        spread = statistics.stdev(row["balanced"] for row in rows) if len(rows) > 1 else float("nan")
        thirds = "  ".join(f"{mean[key]:.4f}" for key in ("many", "medium", "few"))
        print(f"{name:30} {mean['balanced']:.4f} +- {spread:.4f}    {thirds}  {mean['nll']:.3f}")
    means = {name: statistics.mean(row["balanced"] for row in rows) for name, rows in results.items()}
    adjusted = ("balanced softmax", "logit adjusted, tau 1.5", POST_HOC)
    ours = max(means[name] for name in adjusted if name in means)
    peer = means["cross-entropy"]
    print(json.dumps({"ours": ours, "peer": peer, "unit": "balanced accuracy", "ratio": ours / peer, "all": means}))


if __name__ == "__main__":
    main()
