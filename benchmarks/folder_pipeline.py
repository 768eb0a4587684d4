"""Batches of the folder path at 224 pixels against torchvision's ImageFolder and a DataLoader of two workers.

Both sides serve JPEG files of 500x375 pixels with random resized crop, horizontal flip and normalisation, in shuffled
batches. Our first epoch decodes every file once into a store on disk, with an empty store in each repeat; later epochs
map it. The peer does the same work in every epoch. The sides take turns. Files are generated, with the falling spectrum
of photos (about 100 kB each), or taken from --root (class folders).
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision.transforms import v2

from datamodules import ImageFolder
from datamodules.augmentation.transforms import augment
from engine.allocator import keep_large_blocks
from lightning_modules.preprocessing import Preprocessing

MEAN, STD, BATCH, SIZE = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], 64, 224


def photo(rng, height=375, width=500):
    """Noise whose amplitude falls with its frequency, as in photos."""
    down, across = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    falloff = 1 / np.maximum(np.hypot(down, across), 1 / width)
    spectrum = np.fft.rfft2(rng.normal(size=(3, height, width))) * falloff
    pixels = np.fft.irfft2(spectrum, (height, width)).transpose(1, 2, 0)
    return (128 + 48 * pixels / pixels.std()).clip(0, 255).astype(np.uint8)


def write_photos(root, count):
    rng = np.random.default_rng(0)
    for number in range(count):
        folder = root / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(photo(rng)).save(folder / f"{number:05d}.jpg", quality=90)


def peer_rate(root):
    transform = v2.Compose(
        [
            v2.RandomResizedCrop(SIZE),
            v2.RandomHorizontalFlip(),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )
    data = datasets.ImageFolder(root / "train", transform)
    start = time.perf_counter()
    for _ in DataLoader(data, BATCH, shuffle=True, num_workers=2):
        pass
    return len(data) / (time.perf_counter() - start)


def our_epoch(data, device):
    preprocessing = Preprocessing((SIZE, SIZE), MEAN, STD).to(device)
    for batch in data.train_dataloader():
        preprocessing(augment(batch["image"].to(device), ("resized_crop", "flip")))
    if device.type == "cuda":
        torch.cuda.synchronize()


def our_rates(root, device):
    """Return the rates of a first epoch, store included, and of a later one."""
    options = {"val_fraction": 0.0, "test_fraction": 0.0, "image_size": SIZE, "batch_size": BATCH, "cache": "disk"}
    with tempfile.TemporaryDirectory() as cache:
        start = time.perf_counter()
        data = ImageFolder(root=str(root), cache_dir=cache, **options)
        our_epoch(data, device)
        first = time.perf_counter()
        our_epoch(data, device)
        last = time.perf_counter()
        count = len(data.splits["train"])
    return count / (first - start), count / (last - first)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder with train/<class>/*; none generates photos")
    parser.add_argument("--images", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer images, for make bench")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    # train.py does this; the peer has it too
    keep_large_blocks()
    with tempfile.TemporaryDirectory() as folder:
        root = options.root or Path(folder)
        if options.root is None:
            write_photos(root, 300 if options.quick else options.images)
        rates = {"peer": [], "first": [], "later": []}
        for repeat in range(options.repeats):
            first, later = our_rates(root, device)
            for name, rate in (("peer", peer_rate(root)), ("first", first), ("later", later)):
                rates[name].append(rate)
            print(f"repeat {repeat}:", {name: round(values[-1]) for name, values in rates.items()}, flush=True)
    median = {name: statistics.median(values) for name, values in rates.items()}
    result = {"ours": round(median["later"]), "peer": round(median["peer"]), "unit": "images/s"}
    result |= {"ratio": round(median["later"] / median["peer"], 2), "ours_first_epoch": round(median["first"])}
    result |= {"ratio_first_epoch": round(median["first"] / median["peer"], 2), "device": str(device)}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
