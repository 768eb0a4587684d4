"""scikit-learn's digits: 1,797 real grey 8x8 images that ship with the package."""

import numpy as np

from common.options import configurable, option
from common.ranges import check_range
from datamodules.augmentation.transforms import Step
from datamodules.dataset import Dataset, array_dataset
from datamodules.image_data import ImageDataModule
from datamodules.splits import stratified_holdout

# the test split is the same for every `split_seed`, as an official one is
TEST_SEED = 0


@configurable
class Digits(ImageDataModule):
    """Handwritten digits that ship with scikit-learn; needs no network.

    Args:
        test_fraction: share of the images that are the test split, stratified
        image_size: height and width in pixels to serve images at; null keeps their own 8
    """

    test_fraction: float = option(0.2, "split")
    batch_size: int = 64
    image_size: int | None = 16
    augmentation: tuple[Step, ...] = ("crop",)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("--data.test_fraction", self.test_fraction, "(0, 1)")

    def load(self) -> Dataset:
        """Read the embedded images, and draw the test split."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)[..., None]
        labels = digits.target.astype(np.int64)
        train, test = stratified_holdout(labels, [self.test_fraction], TEST_SEED)
        arrays = {"train": (images[train], labels[train]), "test": (images[test], labels[test])}
        return array_dataset(arrays, [str(c) for c in range(10)], self.image_size)
