"""Pictures: pure functions from arrays to matplotlib figures."""

from figures.class_distribution import class_distribution
from figures.confusion_matrix import confused_pairs, confusion_matrix
from figures.embeddings import class_spread, embedding_scatter, explained_variance
from figures.gallery import captions, gallery, prediction
from figures.image_pairs import image_pairs
from figures.learning_curves import learning_curves
from figures.lr_curve import lr_curve
from figures.per_class import per_class
from figures.ranking import precision_recall, risk_coverage, roc
from figures.reliability import confidence, reliability
from figures.stack import class_decisions, head_weights, stack_decisions

__all__ = [
    "captions",
    "class_decisions",
    "class_distribution",
    "class_spread",
    "confidence",
    "confused_pairs",
    "confusion_matrix",
    "embedding_scatter",
    "explained_variance",
    "gallery",
    "head_weights",
    "image_pairs",
    "learning_curves",
    "lr_curve",
    "per_class",
    "precision_recall",
    "prediction",
    "reliability",
    "risk_coverage",
    "roc",
    "stack_decisions",
]
