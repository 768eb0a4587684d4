"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009), read through torchvision."""

from typing import ClassVar

from common.options import configurable, option
from datamodules.augmentation.transforms import Step
from datamodules.dataset import Dataset
from datamodules.image_data import ImageDataModule
from datamodules.sets.torchvision_sets import load_torchvision


@configurable
class CIFAR10(ImageDataModule):
    """50,000 training and 10,000 test images of 32x32 pixels in 10 classes.

    Args:
        root: folder that holds the data set in torchvision's layout
        download: fetch the data set if it is missing
    """

    root: str = "data"
    download: bool = option(False, "reading")
    augmentation: tuple[Step, ...] = ("crop", "flip")
    dataset_name: ClassVar[str] = "CIFAR10"

    def load(self) -> Dataset:
        """Read both official parts."""
        return load_torchvision(self.dataset_name, self.root, self.download, self.image_size)


@configurable
class CIFAR100(CIFAR10):
    """50,000 training and 10,000 test images of 32x32 pixels in 100 classes."""

    dataset_name: ClassVar[str] = "CIFAR100"
