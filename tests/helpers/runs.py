"""Run folders as training and testing leave them, without training."""

import csv
import json

import torch
import yaml
from safetensors.torch import save_file

from measures.classification import classification_metrics


def logits_for(labels, num_classes, strength=2.0, seed=0):
    """Logits that are right more often the stronger they are."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(len(labels), num_classes, generator=generator)
    return noise + strength * torch.nn.functional.one_hot(labels, num_classes)


def write_run(
    folder,
    logits=None,
    labels=None,
    *,
    split="test",
    config=None,
    data=None,
    model="MLP",
    epochs=3,
    class_names=None,
    groups=None,
    **facts,
):
    """Write result.json, predictions, config.yaml and metrics.csv of one run.

    Args:
        folder: root / experiment / run
        logits: of the split; None writes no result of it
        labels: of the split
        split: test or val
        config: options beside the usual ones, flat below model.init_args
        data: options below data.init_args
        model: name of the class
        epochs: rows of metrics.csv
        class_names: of the classes
        groups: of the samples
        facts: what result.json holds beside
    """
    folder.mkdir(parents=True, exist_ok=True)
    options = {"width": 8, **(config or {})}
    content = {
        "seed_everything": options.pop("seed_everything", 0),
        "model": {"class_path": f"lightning_modules.{model}", "init_args": options},
        "data": {"class_path": "datamodules.Digits", "init_args": {"batch_size": 64, **(data or {})}},
        "run": {"root": str(folder.parents[1]), "experiment": folder.parent.name, "name": folder.name},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    result = {
        "experiment": folder.parent.name,
        "run": folder.name,
        "model": "lightning_modules.MLP",
        "data": "datamodules.Digits",
        "parameters": 1234,
        "fit": {
            "epochs": epochs,
            "seconds": 61.5,
            "best_epoch": 1,
            "finished": "2026-01-01T00:00:00+00:00",
            "last": {
                "train/accuracy": 0.75,
                "train/loss": 0.5,
                "val/accuracy": 0.7,
                "val/loss": 0.6,
                "lr-AdamW": 0.001,
            },
        },
    }
    if logits is not None:
        names = class_names or [f"class {number}" for number in range(logits.shape[1])]
        metrics = classification_metrics(logits, labels)
        metrics["loss"] = metrics["nll"]
        result |= {
            "class_names": names,
            split: {name: value for name, value in metrics.items() if value == value},
            "evaluations": {split: {"samples": len(labels), "fingerprint": f"{len(labels)} samples", "fitted_on": 0}},
        }
        ids = torch.arange(len(labels))
        columns = {f"{split}/id": ids, f"{split}/label": labels, f"{split}/logits": logits.float()}
        columns |= {} if groups is None else {f"{split}/group": groups}
        save_file(columns, folder / "predictions.safetensors")
    (folder / "result.json").write_text(json.dumps(result | facts))
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "lr-AdamW", "step", "train/accuracy", "train/loss", "val/accuracy", "val/loss"])
        for epoch in range(epochs):
            writer.writerow(["", 0.001, epoch, "", "", "", ""])
            writer.writerow([epoch, "", epoch, 0.5 + epoch / 20, 1 / (epoch + 1), 0.4 + epoch / 20, 1.2 / (epoch + 1)])
    return folder


def write_checkpoint(path):
    """Write as little as a checkpoint must hold to be read."""
    info = {"num_classes": 1, "in_channels": 1, "image_size": [1, 1], "class_names": ["a"]}
    architecture = {"class_path": "lightning_modules.MLP", "init_args": {"data_info": info}}
    torch.save({"architecture": architecture, "state_dict": {}}, path)
