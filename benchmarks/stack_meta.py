"""The meta stage of a stack with its bases' logits in the cache, against recomputing them in every epoch.

Three frozen bases (a ResNet-18, a small CNN and an MLP, on images of 32 pixels), generated images, and a meta-MLP that
is trained for a number of epochs with AdamW. Ours: `fit` of a StackingModule as users run it, whose bases have run once
before, in another fit: checkpoints are read and hashed, leakage is looked for, logits come from the cache, and the head
is trained and validated by Lightning. The peer is a plain loop: it has the bases in memory, runs them on each batch
without gradients, and takes the same steps of the same head; the images are in memory too. It does not validate.
Weights of the bases are those they were initialised with: what they compute costs the same.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import lightning.pytorch as pl
import numpy as np
import torch

from common.options import configurable
from datamodules.dataset import Dataset, array_dataset
from datamodules.image_data import ImageDataModule
from ensembling.heads.fitting import MLPHead
from lightning_modules import MLP, ResNet, SmallCNN, StackingModule
from lightning_modules.checkpoints import load_classifier

CLASSES, SIZE, BATCH, LR = 10, 32, 128, 1e-3


@configurable
class Generated(ImageDataModule):
    """Noise in colour, brighter with the class.

    Args:
        images: for the bases, the meta-model and validation together
    """

    images: int = 3000
    batch_size: int = BATCH

    def load(self) -> Dataset:
        rng = np.random.default_rng(0)
        labels = np.arange(self.images) % CLASSES
        images = rng.integers(0, 120, (self.images, SIZE, SIZE, 3), dtype=np.uint8)
        images += (labels * 12).astype(np.uint8)[:, None, None, None]
        parts = {"train": (images, labels), "test": (images[:100], labels[:100])}
        return array_dataset(parts, [str(number) for number in range(CLASSES)], None)


def data(images):
    # the meta-model is trained on two thirds of them
    return Generated(images=images, val_fraction=0.1, stack_fraction=2 / 3)


def trainer(folder, epochs):
    return pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=folder,
    )


def save_bases(folder, images):
    """Write a checkpoint of each base as a run does; none of its steps is taken."""
    paths = []
    for model_class, options in (
        (ResNet, {"variant": "18", "stem": "cifar"}),
        (SmallCNN, {}),
        (MLP, {"hidden": [256]}),
    ):
        split = data(images)
        model = model_class(data_info=split.info, **options)
        fitting = trainer(folder, 1)
        fitting.limit_train_batches = fitting.limit_val_batches = 1
        fitting.fit(model, datamodule=split)
        paths.append(Path(folder) / f"{model_class.__name__}.ckpt")
        fitting.save_checkpoint(paths[-1])
    return paths


def head():
    return MLPHead(hidden=[64])


def ours(folder, paths, images, epochs):
    split = data(images)
    # both sides have the images and know their classes beforehand
    info = split.info
    start = time.perf_counter()
    stack = StackingModule(
        data_info=info,
        bases=[str(path) for path in paths],
        meta_model=head(),
        optimizer=lambda p: torch.optim.AdamW(p, lr=LR),
        schedule=None,
        logit_cache=str(Path(folder) / "logits"),
    )
    trainer(folder, epochs).fit(stack, datamodule=split)
    return time.perf_counter() - start


def peer(paths, images, epochs):
    split = data(images)
    samples = split.splits["stack"]
    pixels, labels = samples.source.gather(samples.rows), samples.labels
    bases = [load_classifier(path).requires_grad_(False) for path in paths]
    start = time.perf_counter()
    model = head().build(len(bases), CLASSES)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    for _ in range(epochs):
        for chosen in torch.randperm(len(labels)).split(BATCH):
            with torch.no_grad():
                logits = torch.stack([base(pixels[chosen]) for base in bases], 1)
            loss = torch.nn.functional.cross_entropy(model(logits), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer images and epochs, for make bench")
    options = parser.parse_args()
    images, epochs = (300, 2) if options.quick else (options.images, options.epochs)
    repeats = 2 if options.quick else options.repeats
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    found = {"ours": [], "peer": []}
    with tempfile.TemporaryDirectory() as folder:
        paths = save_bases(folder, images)
        # the first stack over these bases runs them
        first = ours(folder, paths, images, epochs)
        for repeat in range(repeats):
            found["ours"].append(ours(folder, paths, images, epochs))
            found["peer"].append(peer(paths, images, epochs))
            print(f"repeat {repeat}:", {side: round(times[-1], 3) for side, times in found.items()}, flush=True)
    seconds = {side: statistics.median(times) for side, times in found.items()}
    result = {"ours": round(seconds["ours"], 3), "peer": round(seconds["peer"], 3), "unit": "seconds"}
    result |= {"ratio": round(seconds["peer"] / seconds["ours"], 1), "first": round(first, 3)}
    print(json.dumps(result | {"images": len(data(images).splits["stack"]), "epochs": epochs, "bases": len(paths)}))


if __name__ == "__main__":
    main()
