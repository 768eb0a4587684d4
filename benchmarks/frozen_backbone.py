"""A head on a frozen backbone whose outputs are kept against the backbone run in each epoch: seconds for a whole fit.

Ours runs the frozen layers once for each image and trains the rest on what they gave; the peer is the same fit with
`frozen_cache: null`. Both train VGG16's dense layer and head, or EfficientNet-Lite0's head, from the same seed, and the
largest difference of their weights is told. A second head, of another seed, finds the outputs in the cache ("warm").
Weights are random: they change no time.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common.options import configurable
from datamodules.dataset import array_dataset
from datamodules.image_data import ImageDataModule
from engine.training_loop import use_lean_loop
from lightning_modules import VGG, EfficientNet

KINDS = {
    "vgg16": (VGG, {"freeze": "until:dense"}),
    "lite0": (EfficientNet, {"variant": "lite0", "freeze": "backbone"}),
}


@configurable
class Noise(ImageDataModule):
    """Random images of ten classes.

    Args:
        count: training images
        pixels: height and width
    """

    count: int = 2000
    pixels: int = 64

    def load(self):
        generator = torch.Generator().manual_seed(0)
        shape = (self.count + 10, self.pixels, self.pixels, 3)
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8).numpy()
        labels = (torch.arange(self.count + 10) % 10).numpy()
        arrays = {"train": (images[:-10], labels[:-10]), "test": (images[-10:], labels[-10:])}
        return array_dataset(arrays, [str(n) for n in range(10)], self.image_size)


def fit(kind, data, epochs, cache, head_seed=0):
    family, options = KINDS[kind]
    torch.manual_seed(0)
    model = family(data_info=data.info, frozen_cache=cache, **options)
    torch.manual_seed(head_seed)
    model.head.reset_parameters()
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    use_lean_loop(trainer)
    pl.seed_everything(0, verbose=False)
    start = time.perf_counter()
    trainer.fit(model, datamodule=data)
    return time.perf_counter() - start, model.state_dict()


def measured(kind, data, epochs):
    with tempfile.TemporaryDirectory() as cache:
        peer, expected = fit(kind, data, epochs, None)
        ours, weights = fit(kind, data, epochs, cache)
        warm, _ = fit(kind, data, epochs, cache, head_seed=1)
    differences = [(expected[name].double() - value.double()).abs().max().item() for name, value in weights.items()]
    return {
        "ours": round(ours, 2),
        "peer": round(peer, 2),
        "warm": round(warm, 2),
        "ratio": round(peer / ours, 1),
        "warm_ratio": round(peer / warm, 1),
        "largest_difference": max(differences),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--quick", action="store_true", help="few images, for make bench")
    options = parser.parse_args()
    if options.quick:
        options.images, options.epochs, options.pixels = 128, 3, 32
    # many short fits would repeat their warnings
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = Noise(count=options.images, pixels=options.pixels, val_fraction=0.1)
    # what is done once for the data is no part of a fit
    data.info  # noqa: B018
    results = {}
    for kind in KINDS:
        results[kind] = found = measured(kind, data, options.epochs)
        print(
            f"{kind}: backbone in each epoch {found['peer']} s, once {found['ours']} s ({found['ratio']}x), "
            f"a second head {found['warm']} s ({found['warm_ratio']}x); "
            f"weights differ by {found['largest_difference']:.1g}"
        )
    print(json.dumps({**results["vgg16"], "unit": "s", "epochs": options.epochs, "all": results}))


if __name__ == "__main__":
    main()
