"""Precision, memory format and, if asked for, compilation, for each family of models, against eager fp32 NCHW.

Every setting is trained by real steps of a `fit` (gathering, flip, preprocessing, autocast, loss, backward, optimizer)
from the same weights, the settings taking turns, as `python train.py tune` does; ours is what its rule chooses: the
fastest that keeps the loss, and eager fp32 where nothing is clearly faster. Images are generated.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from rich.console import Console

from common.machine import device_name
from common.options import configurable
from datamodules import ImageDataModule
from datamodules.dataset import Dataset, array_dataset
from engine.allocator import keep_large_blocks
from engine.gpu_check import stop_probing_for_gpus
from lightning_modules import MLP, VGG, ConvNeXt, CustomCNN, EfficientNet, ResNet, SmallCNN
from pipelines.tune.table import compute_table
from pipelines.tune.timing import Bench, candidates, choose

# class, options, size in pixels (None takes --size), batch on a CPU, batch on a GPU
FAMILIES = {
    "mlp": (MLP, {}, None, 256, 1024),
    "small_cnn": (SmallCNN, {}, None, 256, 1024),
    "custom_cnn": (CustomCNN, {}, None, 64, 512),
    "resnet_18": (ResNet, {"stem": "cifar"}, None, 64, 512),
    "efficientnet_b0": (EfficientNet, {"variant": "b0"}, 96, 32, 256),
    "efficientnet_v2_b0": (EfficientNet, {"variant": "v2_b0"}, 96, 32, 256),
    "efficientnet_lite0": (EfficientNet, {"variant": "lite0"}, 96, 32, 256),
    "convnext_tiny": (ConvNeXt, {"variant": "tiny"}, None, 32, 512),
    "vgg_16": (VGG, {}, None, 32, 512),
}


@configurable
class Generated(ImageDataModule):
    """Noise with a bright square whose place is the class."""

    count: int = 2048
    size: int = 32

    def load(self) -> Dataset:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 160, (self.count, self.size, self.size, 3), dtype=np.uint8)
        labels = np.arange(self.count) % 10
        part = self.size // 5
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 5)
            image[row * part : (row + 1) * part, column * part : (column + 1) * part] += 90
        return array_dataset({"train": (images, labels), "test": (images[:10], labels[:10])}, list("0123456789"), None)


def measure(name, options, folder):
    model_class, model_options, own_size, cpu_batch, gpu_batch = FAMILIES[name]
    size, batch = own_size or options.size, options.batch or (gpu_batch if options.device == "cuda" else cpu_batch)
    data = Generated(count=max(2048, 4 * batch), size=size, batch_size=batch, val_fraction=0.0, augmentation=("flip",))
    torch.manual_seed(0)
    model = model_class(data_info=data.info, **model_options)
    accelerator = {"accelerator": "gpu" if options.device == "cuda" else "cpu", "devices": 1}
    bench = Bench(model, data, {**accelerator, "default_root_dir": folder}, seed=0)
    tried = candidates(options.device, options.compile)
    measured = bench.measure(tried, options.repeats, options.seconds, options.loss_steps)
    chosen = choose(measured)
    console = Console()
    console.print(f"{name}, {size} px, batch {batch}: {chosen.candidate}")
    console.print(compute_table(measured))
    return {
        "ours": round(statistics.median(chosen.rates), 1),
        "peer": round(statistics.median(measured[0].rates), 1),
        "unit": "images/s",
        # the ratio over the rounds: each compares both under the same state of the machine
        "ratio": round(chosen.ratio(measured[0]), 2),
        "setting": str(chosen.candidate),
        "size": size,
        "batch": batch,
        "ratios": {str(m.candidate): round(m.ratio(measured[0]), 2) for m in measured if m.rates},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--size", type=int, default=32, help="pixels; EfficientNets get 96")
    parser.add_argument("--batch", type=int, help="for all families; none takes that of each")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each setting")
    parser.add_argument("--seconds", type=float, default=3.0, help="of a turn, about")
    parser.add_argument("--loss-steps", type=int, default=30, help="steps whose losses are compared")
    parser.add_argument("--compile", action="store_true", help="compiled too, which takes minutes a family")
    parser.add_argument("--quick", action="store_true", help="one small family, for make bench")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    if options.quick:
        options.families, options.batch, options.repeats = ["small_cnn"], 32, 2
        options.seconds, options.loss_steps = 0.2, 4
    # train.py does this
    keep_large_blocks()
    stop_probing_for_gpus()
    # many short fits would repeat their warnings
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        results = {name: measure(name, options, folder) for name in options.families}
    # the claim is for ResNet-18
    first = results.get("resnet_18") or next(iter(results.values()))
    summary = {name: first[name] for name in ("ours", "peer", "unit", "ratio", "setting")}
    device = device_name(torch.device(options.device))
    print(json.dumps({**summary, "device": device, "repeats": options.repeats, "families": results}))


if __name__ == "__main__":
    main()
