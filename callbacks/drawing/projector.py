"""Embeddings for TensorBoard's projector, as part of their run.

TensorBoard's own writer makes a run of each folder that it writes into.
"""

import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from records.run_dir import projector_config
from records.whole_file import write_whole

# TensorBoard takes one image with all thumbnails, of at most this size
SPRITE, THUMBNAIL = 8192, 48
TENSORS, LABELS, THUMBNAILS = "tensors.tsv", "metadata.tsv", "sprite.png"


def write_projector(
    folder: Path, run: Path, embeddings: NDArray[np.floating], names: Sequence[str], images: Tensor
) -> None:
    """Write embeddings where TensorBoard finds them under the name of their run.

    Args:
        folder: below the run's, for the files; emptied before
        run: the run's folder
        embeddings: shape `(sample, dim)`
        names: of the class of each sample
        images: uint8, shape `(sample, channel, height, width)`
    """
    # events that an earlier version left would be a run of their own
    shutil.rmtree(folder, ignore_errors=True)
    with write_whole(folder / TENSORS) as partial:
        np.savetxt(partial, embeddings, fmt="%.6g", delimiter="\t")
    with write_whole(folder / LABELS) as partial:
        # a name is a cell of a table
        partial.write_text("".join(" ".join(name.split()) + "\n" for name in names), encoding="utf-8")
    side = min(THUMBNAIL, SPRITE // math.ceil(math.sqrt(len(images))), max(images.shape[-2:]))
    with write_whole(folder / THUMBNAILS) as partial:
        Image.fromarray(sprite(images, side)).save(partial, "png")
    known = [each for each in sorted(folder.parent.glob("*_projector")) if (each / TENSORS).is_file()]
    with write_whole(projector_config(run)) as partial:
        partial.write_text("".join(entry(each, run) for each in known), encoding="utf-8")


def sprite(images: Tensor, side: int) -> NDArray[np.uint8]:
    """Put thumbnails of uint8 images `(sample, channel, height, width)` into one square picture, row by row."""
    small = images.float()
    if small.shape[-2:] != (side, side):
        small = torch.nn.functional.interpolate(small, (side, side), mode="bilinear", antialias=True)
    pixels = small.round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)
    columns = math.ceil(math.sqrt(len(pixels)))
    whole = torch.zeros(columns * columns, 3, side, side, dtype=torch.uint8)
    whole[: len(pixels)] = pixels
    rows = whole.reshape(columns, columns, 3, side, side).permute(0, 3, 1, 4, 2)
    return rows.reshape(columns * side, columns * side, 3).numpy()


def entry(folder: Path, run: Path) -> str:
    """Return the entry of a folder of embeddings in the projector's configuration.

    Args:
        folder: with their files
        run: where the configuration lies
    """
    place = Path(os.path.relpath(folder, run)).as_posix()
    with Image.open(folder / THUMBNAILS) as picture, (folder / LABELS).open("rb") as labels:
        side = picture.width // math.ceil(math.sqrt(sum(1 for _ in labels)))
    lines = (
        "embeddings {",
        f'  tensor_name: "{folder.name.removesuffix("_projector")}"',
        f'  tensor_path: "{place}/{TENSORS}"',
        f'  metadata_path: "{place}/{LABELS}"',
        "  sprite {",
        f'    image_path: "{place}/{THUMBNAILS}"',
        *[f"    single_image_dim: {side}"] * 2,
        "  }",
        "}",
    )
    return "".join(f"{line}\n" for line in lines)
