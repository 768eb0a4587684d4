"""What is optimised: networks, their losses and metrics."""

from lightning_modules.classifier import ImageClassifier
from lightning_modules.convnext import ConvNeXt
from lightning_modules.custom_cnn import CustomCNN
from lightning_modules.efficientnet import EfficientNet
from lightning_modules.losses import BalancedSoftmax, CrossEntropy, Focal, LogitAdjusted, Loss
from lightning_modules.mlp import MLP, Linear
from lightning_modules.optim import (
    Constant,
    OneCycle,
    Plateau,
    Schedule,
    StepDecay,
    WarmRestarts,
    WarmupCosine,
)
from lightning_modules.resnet import ResNet
from lightning_modules.small_cnn import SmallCNN
from lightning_modules.stacked_classifier import StackedClassifier
from lightning_modules.stacking import StackingModule
from lightning_modules.vgg import VGG

__all__ = [
    "MLP",
    "VGG",
    "BalancedSoftmax",
    "Constant",
    "ConvNeXt",
    "CrossEntropy",
    "CustomCNN",
    "EfficientNet",
    "Focal",
    "ImageClassifier",
    "Linear",
    "LogitAdjusted",
    "Loss",
    "OneCycle",
    "Plateau",
    "ResNet",
    "Schedule",
    "SmallCNN",
    "StackedClassifier",
    "StackingModule",
    "StepDecay",
    "WarmRestarts",
    "WarmupCosine",
]
