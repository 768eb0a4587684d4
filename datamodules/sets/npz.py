"""Images in one npz file, as the notebooks wrote them."""

from collections import Counter
from pathlib import Path
from typing import cast

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from common.few import SHOWN, count_of, few
from common.options import configurable, option
from common.warned import warn
from datamodules.dataset import Dataset, array_dataset
from datamodules.files.npz_arrays import read_arrays
from datamodules.image_data import ImageDataModule
from datamodules.names import one_form, shown, tell_alike

SPLITS = ("train", "val", "test")
# what a label may be without leaving int64
LARGEST = np.iinfo(np.int64).max


@configurable
class Npz(ImageDataModule):
    """Arrays x_train, y_train, x_test, y_test and perhaps x_val, y_val in one npz file.

    Images are (sample, height, width, channel), or (sample, height, width) if grey, in [0, 1] or [0, 255].

    Args:
        path: the file, such as cifar10_processed.npz
        class_names: the name of each class, in label order; null names them by number
    """

    path: str = "data.npz"
    class_names: list[str] | None = option(None, "reading")

    def load(self) -> Dataset:
        """Read and check the arrays."""
        path = Path(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"--data.path {self.path!r} is not a file")
        arrays = read_arrays(path, [f"{kind}_{split}" for kind in "xy" for split in SPLITS])
        parts = [split for split in SPLITS if split != "val" or {"x_val", "y_val"} & set(arrays)]
        if missing := [name for split in parts for name in (f"x_{split}", f"y_{split}") if name not in arrays]:
            has = few(sorted(arrays), shown=6) or "none of its kind"
            raise ValueError(f"{path} has no array {few(map(repr, missing))}; it has {has}")
        images = {split: arrays[f"x_{split}"] for split in parts}
        scale = find_range(images, path)
        pairs = {
            split: (_to_uint8(images[split], scale), _labels(arrays[f"y_{split}"], images[split], split, path))
            for split in parts
        }
        num_classes = _count_classes({split: labels for split, (_, labels) in pairs.items()}, path)
        names = [one_form(str(name)) for name in self.class_names or range(num_classes)]
        if len(names) != num_classes:
            raise ValueError(f"--data.class_names has {len(names)} names, but {path} has {num_classes} classes")
        counts = Counter(names)
        if repeated := [name for name, count in counts.items() if count > 1]:
            raise ValueError(f"--data.class_names lists {few(map(shown, repeated))} more than once")
        tell_alike("--data.class_names", "classes", counts, "", "allow", "name(s)")
        return array_dataset(pairs, names, self.image_size)


def find_range(images: dict[str, NDArray[np.generic]], path: Path) -> int:
    """Tell whether pixels are in [0, 1] or [0, 255], over all splits together.

    Args:
        images: arrays by split
        path: for the error message

    Returns:
        the upper end: 1 or 255

    Raises:
        ValueError: wrong shape, not numbers, not finite, in neither range, or in different ones
    """
    lowest, highest = np.inf, -np.inf
    shapes = {array.shape[1:] for array in images.values()}
    if len(shapes) > 1:
        raise ValueError(f"{path}: images of all splits must have one shape, not {sorted(map(str, shapes))}")
    for split, array in images.items():
        if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)):
            raise ValueError(f"{path}: x_{split} must be (N, H, W, C) with C 1 or 3, not {array.shape}")
        if not array.size:
            raise ValueError(f"{path}: x_{split} of shape {array.shape} holds no image: leave it out, or fill it")
        if array.dtype.kind not in "uif":
            raise ValueError(f"{path}: x_{split} must hold numbers, not {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            broken = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(1)).tolist()
            raise ValueError(
                f"{path}: x_{split} holds NaN or infinite pixels in {count_of(len(broken), 'image')} of {len(array)}: "
                f"number {few(broken)}: mend them or leave them out"
            )
        lowest, highest = min(lowest, float(array.min())), max(highest, float(array.max()))
    # rounding can carry a scaled pixel a little beyond 1
    scales = {1 if array.dtype.kind == "f" and array.max() <= 1 + 1e-3 else 255 for array in images.values()}
    if lowest < 0 or highest > 255 or (max(scales) == 255 and 1 + 1e-3 < highest <= 2 and 1 not in scales):
        raise ValueError(f"{path}: pixels must be in [0, 1] or [0, 255], but reach from {lowest:g} to {highest:g}")
    if len(scales) > 1:
        raise ValueError(f"{path}: pixels of some splits are in [0, 1] and of others in [0, 255]")
    scale = scales.pop()
    if highest < scale / 4:
        warn(
            f"{path}: pixels reach only to {highest:g}, and are read as [0, {scale}]: images are very dark; scale them "
            f"to [0, 255] if that is not so"
        )
    rank_zero_info(f"{path}: pixels reach from {lowest:g} to {highest:g} and are read as [0, {scale}]")
    return scale


def _to_uint8(images: NDArray[np.generic], scale: int) -> NDArray[np.uint8]:
    if images.ndim == 3:
        images = images[..., None]
    if images.dtype == np.uint8 and scale == 255:
        return images.view(np.uint8)
    return np.round(images.astype(np.float32) * (255 / scale)).clip(0, 255).astype(np.uint8)


def _labels(labels: NDArray[np.generic], images: NDArray[np.generic], split: str, path: Path) -> NDArray[np.int64]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "ui" or len(labels) != len(images):
        raise ValueError(
            f"{path}: y_{split} must be {len(images)} whole numbers, one an image, not {labels.dtype} {labels.shape}: "
            f"save class numbers as integers, such as y.astype(int), or y.argmax(1) of one-hot rows"
        )
    labels = cast("NDArray[np.integer]", labels)
    if (wrong := np.flatnonzero(labels < 0)).size:
        raise ValueError(
            f"{path}: y_{split} holds {count_of(len(wrong), 'negative label')}, first {labels[wrong[0]]} at "
            f"{wrong[0]}: classes are numbered from 0"
        )
    if (wrong := np.flatnonzero(labels > LARGEST)).size:
        raise ValueError(f"{path}: y_{split} holds {labels[wrong[0]]} at {wrong[0]}: classes are numbered from 0")
    return labels.astype(np.int64)


def _count_classes(labels: dict[str, NDArray[np.int64]], path: Path) -> int:
    """Return the number of classes; each must have a training image."""
    trained = np.unique(labels["train"])
    highest = max(int(each.max()) for each in labels.values())
    if len(trained) <= highest:
        # not a list of all that are lacking: of a label of 1e9 there would be as many
        lacking = np.setdiff1d(np.arange(min(highest + 1, len(trained) + SHOWN + 1)), trained).tolist()
        count = highest + 1 - len(trained)
        raise ValueError(
            f"{path}: labels reach to {highest}, but {count_of(count, 'class has', 'classes have')} no training image: "
            f"{few(lacking[:SHOWN])}{' ...' if count > SHOWN else ''}: number the classes from 0 without gaps"
        )
    return highest + 1
