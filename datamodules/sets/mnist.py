"""MNIST (LeCun et al. 1998) and FashionMNIST (Xiao et al. 2017), read through torchvision."""

from typing import ClassVar

from common.options import configurable, option
from datamodules.augmentation.transforms import Step
from datamodules.dataset import Dataset
from datamodules.image_data import ImageDataModule
from datamodules.sets.torchvision_sets import load_torchvision


@configurable
class MNIST(ImageDataModule):
    """60,000 training and 10,000 test images of handwritten digits, grey, 28x28 pixels.

    Args:
        root: folder that holds the data set in torchvision's layout
        download: fetch the data set if it is missing
    """

    root: str = "data"
    download: bool = option(False, "reading")
    augmentation: tuple[Step, ...] = ("crop",)
    dataset_name: ClassVar[str] = "MNIST"

    def load(self) -> Dataset:
        """Read both official parts."""
        return load_torchvision(self.dataset_name, self.root, self.download, self.image_size)


@configurable
class FashionMNIST(MNIST):
    """60,000 training and 10,000 test images of clothes, grey, 28x28 pixels, 10 classes."""

    augmentation: tuple[Step, ...] = ("crop", "flip")
    dataset_name: ClassVar[str] = "FashionMNIST"
