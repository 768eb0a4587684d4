"""Where samples come from: data sets, splits, loaders and augmentation."""

from datamodules.base import ImageDataModule
from datamodules.cifar import CIFAR10, CIFAR100
from datamodules.digits import Digits
from datamodules.image_folder import ImageFolder
from datamodules.info import DataInfo
from datamodules.manifest import Manifest
from datamodules.mnist import MNIST, FashionMNIST
from datamodules.npz import Npz

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "MNIST",
    "DataInfo",
    "Digits",
    "FashionMNIST",
    "ImageDataModule",
    "ImageFolder",
    "Manifest",
    "Npz",
]
