"""What is optimised: networks, their losses and metrics."""

from lightning_modules.classifier import Classifier
from lightning_modules.families.convnext import ConvNeXt
from lightning_modules.families.custom_cnn import CustomCNN
from lightning_modules.families.efficientnet import EfficientNet
from lightning_modules.families.mlp import MLP, Linear
from lightning_modules.families.resnet import ResNet
from lightning_modules.families.small_cnn import SmallCNN
from lightning_modules.families.tables import TableClassifier, TableRegressor
from lightning_modules.families.timm_model import Timm
from lightning_modules.families.vgg import VGG
from lightning_modules.image_classifier import ImageClassifier
from lightning_modules.model import Model
from lightning_modules.regressor import Regressor
from lightning_modules.stacked_classifier import StackedClassifier
from lightning_modules.stacking import StackingModule
from lightning_modules.table_model import TableModel
from lightning_modules.trained_classifier import TrainedClassifier
from lightning_modules.trained_model import TrainedModel
from lightning_modules.training.losses import BalancedSoftmax, CrossEntropy, Focal, LogitAdjusted, Loss
from lightning_modules.training.schedules import (
    Constant,
    OneCycle,
    Plateau,
    Schedule,
    StepDecay,
    WarmRestarts,
    WarmupCosine,
)

__all__ = [
    "MLP",
    "VGG",
    "BalancedSoftmax",
    "Classifier",
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
    "Model",
    "OneCycle",
    "Plateau",
    "Regressor",
    "ResNet",
    "Schedule",
    "SmallCNN",
    "StackedClassifier",
    "StackingModule",
    "StepDecay",
    "TableClassifier",
    "TableModel",
    "TableRegressor",
    "Timm",
    "TrainedClassifier",
    "TrainedModel",
    "WarmRestarts",
    "WarmupCosine",
]
