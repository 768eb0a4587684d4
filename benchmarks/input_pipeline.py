"""Batches of the in-memory path against torchvision's data set, transforms and DataLoader.

Both sides serve the same images with random crop (padding 4), horizontal flip and normalisation, in shuffled batches.
The peer gets the best of 0, 1 and 2 workers, and of as many as there are cores, in each repeat; the sides take turns.
Images are generated, or taken from the class folders of --root, such as CIFAR-10's; both sides hold them in memory,
ours in that of the GPU where there is one, as a fit does.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from common.machine import core_count, device_name
from datamodules import ImageFolder
from datamodules.augmentation.transforms import random_crop
from datamodules.dataset import array_dataset
from datamodules.device_memory import DeviceMemory
from datamodules.loaders import BatchLoader
from datamodules.samplers import EpochSampler, Shuffled
from engine.allocator import keep_large_blocks
from lightning_modules.preprocessing import Preprocessing

MEAN, STD, BATCH = [0.49, 0.48, 0.45], [0.25, 0.24, 0.26], 128


class Arrays(datasets.VisionDataset):
    """Images in memory, served as torchvision's CIFAR10 does."""

    def __init__(self, images, labels, transform):
        super().__init__("", transform=transform)
        self.images, self.labels = images, labels

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = v2.functional.to_pil_image(self.images[index])
        return self.transform(image), int(self.labels[index])


def peer_rate(images, labels, workers, device):
    transform = v2.Compose(
        [
            v2.RandomCrop(32, padding=4),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    loader = DataLoader(Arrays(images, labels, transform), BATCH, shuffle=True, num_workers=workers)
    start = time.perf_counter()
    for batch, _ in loader:
        batch.to(device)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return len(images) / (time.perf_counter() - start)


def our_rate(samples, held, device):
    loader = BatchLoader(samples, EpochSampler(Shuffled(len(samples)), BATCH, 0, 0, 1), held)
    preprocessing = Preprocessing((32, 32), MEAN, STD).to(device)
    # on a GPU an epoch is over too soon to be timed
    epochs = 10 if device.type == "cuda" else 1
    start = time.perf_counter()
    for epoch in range(epochs):
        loader.sampler.set_epoch(epoch)
        for batch in loader:
            preprocessing(random_crop(batch["image"], 4, flip=True))
    if device.type == "cuda":
        torch.cuda.synchronize()
    return epochs * len(samples) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder with train/<class>/*; none generates images")
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer images, for make bench")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    count = 4_000 if options.quick else options.images
    device = torch.device(options.device)
    # train.py does this; the peer has it too
    keep_large_blocks()
    if options.root:
        samples = ImageFolder(root=options.root, cache="ram", val_fraction=0.0).splits["train"]
        samples = samples.subset(torch.randperm(len(samples))[: count if options.quick else None])
        images, labels = samples.source.gather(samples.rows).permute(0, 2, 3, 1).numpy(), samples.labels.numpy()
        count = len(samples)
    else:
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        labels = rng.integers(0, 10, count)
        samples = array_dataset(dict.fromkeys(("train", "test"), (images, labels)), list("0123456789"), None).train
    held = DeviceMemory().hold(samples, device) if device.type == "cuda" else None
    our_rate(samples, held, device)
    counts = sorted({0, 1, 2, core_count()})
    ours, peer = [], []
    for repeat in range(options.repeats):
        ours.append(our_rate(samples, held, device))
        rates = {workers: peer_rate(images, labels, workers, device) for workers in counts}
        peer.append(max(rates.values()))
        best = max(rates, key=rates.get)
        print(f"repeat {repeat}: ours {ours[-1]:,.0f}, peer {peer[-1]:,.0f} ({best} workers) images/s", flush=True)
    left, right = statistics.median(ours), statistics.median(peer)
    result = {"ours": round(left), "peer": round(right), "unit": "images/s", "ratio": round(left / right, 2)}
    print(json.dumps({**result, "device": device_name(device), "images": count, "repeats": options.repeats}))


if __name__ == "__main__":
    main()
