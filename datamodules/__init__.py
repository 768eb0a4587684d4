"""Where samples come from: data sets, splits, loaders and augmentation."""

from datamodules.base import DataModule
from datamodules.image_data import ImageDataModule
from datamodules.info import DataInfo
from datamodules.sets.cifar import CIFAR10, CIFAR100
from datamodules.sets.digits import Digits
from datamodules.sets.generated_tables import Houses, TwoGroups
from datamodules.sets.image_folder import ImageFolder
from datamodules.sets.manifest import Manifest
from datamodules.sets.mnist import MNIST, FashionMNIST
from datamodules.sets.npz import Npz
from datamodules.sets.streamed import Streamed
from datamodules.sets.table_data import TableData

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "DataInfo",
    "DataModule",
    "Digits",
    "FashionMNIST",
    "Houses",
    "ImageDataModule",
    "ImageFolder",
    "Manifest",
    "Npz",
    "Streamed",
    "TableData",
    "TwoGroups",
]
