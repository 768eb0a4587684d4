"""Images in one npz file, as the notebooks wrote them."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray

from datamodules.base import ImageDataModule
from datamodules.dataset import Dataset, array_dataset


@dataclass(eq=False, kw_only=True, repr=False)
class Npz(ImageDataModule):
    """Arrays x_train, y_train, x_test, y_test and perhaps x_val, y_val in one npz file.

    Images are (sample, height, width, channel), or (sample, height, width) if grey, in [0, 1] or [0, 255].

    Args:
        path: the file, such as cifar10_processed.npz
        class_names: the name of each class, in label order; null names them by number
    """

    path: str = "data.npz"
    class_names: list[str] | None = None

    def load(self) -> Dataset:
        """Read and check the arrays."""
        path = Path(self.path)
        if not path.is_file():
            raise FileNotFoundError(f"--data.path {self.path!r} is not a file")
        try:
            # pickled objects could run code
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except (ValueError, BadZipFile, OSError, EOFError) as error:
            raise ValueError(f"{path} cannot be read as npz without pickle: {error}") from error
        parts = [split for split in ("train", "val", "test") if f"x_{split}" in arrays]
        for split in {"train", "test", *parts}:
            missing = {f"x_{split}", f"y_{split}"} - set(arrays)
            if missing:
                raise ValueError(f"{path} has no array {sorted(missing)[0]!r}; it has {sorted(arrays)}")
        images = {split: arrays[f"x_{split}"] for split in parts}
        scale = find_range(images, path)
        pairs = {
            split: (_to_uint8(images[split], scale), _labels(arrays[f"y_{split}"], images[split], split, path))
            for split in parts
        }
        num_classes = 1 + max(int(labels.max()) for _, labels in pairs.values())
        names = self.class_names or [str(number) for number in range(num_classes)]
        if len(names) != num_classes:
            raise ValueError(f"--data.class_names has {len(names)} names, but {path} has {num_classes} classes")
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
        if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] not in (1, 3)) or not array.size:
            raise ValueError(f"{path}: x_{split} must be (N, H, W, C) with C 1 or 3, not {array.shape}")
        if array.dtype.kind not in "uif":
            raise ValueError(f"{path}: x_{split} must hold numbers, not {array.dtype}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{path}: x_{split} holds NaN or infinite pixels")
        lowest, highest = min(lowest, float(array.min())), max(highest, float(array.max()))
    # rounding can carry a scaled pixel a little beyond 1
    scales = {1 if array.dtype.kind == "f" and array.max() <= 1 + 1e-3 else 255 for array in images.values()}
    if lowest < 0 or highest > 255 or (max(scales) == 255 and 1 + 1e-3 < highest <= 2 and 1 not in scales):
        raise ValueError(f"{path}: pixels must be in [0, 1] or [0, 255], but reach from {lowest:g} to {highest:g}")
    if len(scales) > 1:
        raise ValueError(f"{path}: pixels of some splits are in [0, 1] and of others in [0, 255]")
    scale = scales.pop()
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
            f"{path}: y_{split} must be {len(images)} whole numbers, one an image, not {labels.dtype} {labels.shape}"
        )
    if (labels.astype(np.int64) < 0).any():
        raise ValueError(f"{path}: y_{split} holds negative labels")
    return labels.astype(np.int64)
