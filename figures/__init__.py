"""Pictures: pure functions from arrays to matplotlib figures."""

from figures.class_distribution import class_distribution
from figures.image_pairs import image_pairs
from figures.lr_curve import lr_curve

__all__ = ["class_distribution", "image_pairs", "lr_curve"]
