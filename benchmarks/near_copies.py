"""How many near-copies the perceptual hash finds, how many images look like copies by chance, and what the keys cost.

Some images of a folder (or x_train of an npz file) are known; others, and changed copies of known ones, are looked for.
The last line is JSON; ours is the time to read a file with its keys, its peer that without them.
"""

import argparse
import json
import sys
import time
from io import BytesIO
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from PIL import Image

from datamodules.files.decode import FileSource, read_all
from datamodules.files.decoding import decode
from datamodules.looks import looks_of
from datamodules.provenance import bytes_key
from ensembling.near_copies import probable_copies


def retouched(image):
    """Change one pixel."""
    pixels = np.asarray(image).copy()
    row, column = pixels.shape[0] // 3, pixels.shape[1] // 2
    pixels[row, column] = 255 - pixels[row, column]
    return Image.fromarray(pixels)


def jpeg(image):
    """Compress an image at quality 50."""
    file = BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file)


CHANGES = {
    "pixel": retouched,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "size_75": lambda image: image.resize((image.width * 3 // 4, image.height * 3 // 4)),
    "jpeg_50": jpeg,
    "crop_1": lambda image: image.crop((1, 1, image.width, image.height)),
}


def looks(images):
    """Hash how images look."""
    return torch.from_numpy(np.concatenate([looks_of(np.asarray(image)[None]) for image in images]))


def seconds_per_file(paths):
    """Return CPU seconds a file with keys and without them."""
    files = FileSource(paths[0].parent, [str(path) for path in paths], (32, 32), 3, 0)
    start = time.process_time()
    for _ in read_all(files):
        pass
    ours = time.process_time() - start
    start = time.process_time()
    for path in paths:
        content = path.read_bytes()
        decode(path, (32, 32), 3, content)
        bytes_key(content)
    return ours / len(paths), (time.process_time() - start) / len(paths)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("place", type=Path, help="a folder of images, or an npz file with x_train")
    parser.add_argument("--known", type=int, default=15_000)
    parser.add_argument("--asked", type=int, default=500)
    options = parser.parse_args()
    if options.place.is_dir():
        paths = sorted(path for path in options.place.rglob("*.*") if path.is_file())
        paths = paths[:: max(1, len(paths) // (options.known + options.asked))]
        images = [Image.open(path).convert("RGB") for path in paths]
    else:
        paths, images = [], [Image.fromarray(image.squeeze()) for image in np.load(options.place)["x_train"]]
    order = np.random.default_rng(0).permutation(len(images))
    chosen = [images[number] for number in order[: options.known + options.asked]]
    others, known = chosen[: options.asked], chosen[options.asked :]
    seen = looks(known)
    found = {"other images": float(probable_copies(looks(others), seen).float().mean())}
    for name, change in CHANGES.items():
        changed = looks([change(image) for image in known[: options.asked]])
        # one at a time, or all together
        alone = [probable_copies(look[None], seen) for look in changed]
        found[name] = float(torch.stack(alone).float().mean())
        found[f"{name}, many"] = float(probable_copies(changed, seen).float().mean())
    for name, share in found.items():
        print(f"{name}: {share:.1%}")
    line = {"benchmark": "near_copies", "known": len(known), "asked": len(others), "found": found}
    if paths:
        ours, peer = seconds_per_file(paths[:3000])
        print(f"{1 / ours:,.0f} files a second with keys, {1 / peer:,.0f} without")
        line |= {"ours": ours, "peer": peer, "ratio": ours / peer}
    print(json.dumps(line))


if __name__ == "__main__":
    main()
