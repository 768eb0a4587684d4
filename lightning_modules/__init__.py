"""What is optimised: networks, their losses and metrics."""

from lightning_modules.classifier import ImageClassifier
from lightning_modules.convnext import ConvNeXt
from lightning_modules.custom_cnn import CustomCNN
from lightning_modules.efficientnet import EfficientNet
from lightning_modules.mlp import MLP, Linear
from lightning_modules.resnet import ResNet
from lightning_modules.small_cnn import SmallCNN
from lightning_modules.stacking import StackingModule
from lightning_modules.vgg import VGG

__all__ = [
    "MLP",
    "VGG",
    "ConvNeXt",
    "CustomCNN",
    "EfficientNet",
    "ImageClassifier",
    "Linear",
    "ResNet",
    "SmallCNN",
    "StackingModule",
]
