"""Images with what the model says of them."""

from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from callbacks.drawing.base import Drawn, Evaluated, EvaluationDrawing, as_pictures


class Gallery(EvaluationDrawing):
    """Draw misclassified samples, the most confident mistakes, the least confident hits, and one sample's prediction.

    Args:
        images: how many images of each kind at most
        fit: draw at the end of `fit` too, of the validation of the best epoch
    """

    subject: ClassVar[str] = "gallery"
    needs_images: ClassVar[bool] = True

    def __init__(self, images: int = 24, fit: bool = False) -> None:
        if images < 1:
            raise ValueError(f"the gallery's images must be at least 1, not {images}")
        super().__init__(fit)
        self.count = images

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures.gallery import captions, gallery, prediction

        labels, probabilities, names = evaluated.labels, evaluated.probabilities, evaluated.class_names
        mistakes, hits = telling(evaluated, self.count)
        # the same samples each time, for a seed
        seed = torch.initial_seed()
        wrong = np.flatnonzero(evaluated.predicted != labels)
        some = np.sort(np.random.default_rng(seed).permutation(wrong)[: self.count])
        kinds = {
            "misclassified": ("misclassified images", some),
            "confident_mistakes": ("most confident mistakes", mistakes),
            "unsure_hits": ("least confident hits", hits),
        }
        for name, (kind, rows) in kinds.items():
            title = f"{evaluated.title}, {kind} ({len(rows)} of {len(wrong):,})"
            if name == "unsure_hits":
                title = f"{evaluated.title}, {kind}"
            pictures = as_pictures(evaluated.images(rows)) if len(rows) else []
            files = evaluated.samples(rows).sample_names()
            yield name, gallery(pictures, captions(labels[rows], probabilities[rows], names), title, names=files)
        # whatever the mistakes
        row = int(np.random.default_rng([seed, 1]).integers(len(labels)))
        (picture,) = as_pictures(evaluated.images(np.array([row])))
        (file,) = evaluated.samples(np.array([row])).sample_names()
        yield "random_sample", prediction(picture, probabilities[row], names, int(labels[row]), file)


def telling(evaluated: Evaluated, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose the most confident mistakes and the least confident hits.

    Args:
        evaluated: the predictions
        count: how many of each at most

    Returns:
        rows of the mistakes and of the hits, the most telling first
    """
    confidence, right = evaluated.probabilities.max(1), evaluated.predicted == evaluated.labels
    mistakes, hits = np.flatnonzero(~right), np.flatnonzero(right)
    mistakes = mistakes[np.argsort(-confidence[mistakes], kind="stable")]
    return mistakes[:count], hits[np.argsort(confidence[hits], kind="stable")][:count]
