"""Leaving the least certain images to a person: risk and coverage, and thresholds for them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensembling.judging.bounded_accuracy import promised, what_it_would_take
from ensembling.judging.reject import Reject
from measures.risk_coverage import aurc, error_curve

# above every probability: nothing is accepted
NOTHING = 2.0
# thresholds lie at most this share below the confidence they were chosen at: rounding must not reject what was accepted
SLACK = 1e-6
# held-out samples that a class's threshold for a coverage must rest on
MIN_SAMPLES = 20
CURVE_POINTS = 100


@dataclass(frozen=True, eq=False)
class Thresholds:
    """The least confidence with which a prediction is accepted; confidence is the greatest calibrated probability.

    Args:
        kind: none accepts everything; global is one threshold; class-wise is one for each predicted class
        values: none, one, or one a class
        notes: what was asked for and could not be reached, in words
    """

    kind: Literal["none", "global", "class-wise"] = "none"
    values: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def accepted(self, probabilities: Tensor) -> Tensor:
        """Tell which predictions are accepted.

        Args:
            probabilities: calibrated, shape `(sample, class)`

        Returns:
            bool, shape `(sample,)`

        Raises:
            ValueError: there are other classes than thresholds
        """
        if self.kind == "class-wise" and len(self.values) != probabilities.shape[1]:
            raise ValueError(f"there are thresholds for {len(self.values)} classes, not for {probabilities.shape[1]}")
        confidence, top = probabilities.max(1)
        if self.kind == "none":
            return torch.ones_like(top, dtype=torch.bool)
        # compared in double precision: a threshold must not be rounded up to a confidence just below it
        values = torch.tensor(self.values, dtype=torch.float64, device=probabilities.device)
        return confidence.double() >= (values if self.kind == "global" else values[top])

    def plain(self) -> dict[str, Any]:
        """Return plain types, from which `Thresholds(**plain)` is this again."""
        return asdict(self)


def fit_thresholds(
    reject: Reject,
    probabilities: Tensor,
    labels: Tensor,
    class_names: Sequence[str] | None = None,
    min_samples: int = MIN_SAMPLES,
    groups: Tensor | None = None,
) -> Thresholds:
    """Choose the thresholds that reach a wanted accuracy on new images, or a coverage on held-out samples.

    The accuracy is reached with a confidence of 95 %; see `bounded_accuracy`. For a coverage, of the thresholds that
    reach it the one that accepts least is taken; a class that is predicted for fewer than `min_samples` held-out
    samples then gets the threshold of all classes together.

    Args:
        reject: what is wanted
        probabilities: calibrated, of held-out samples, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        class_names: for the notes
        min_samples: held-out samples that a class's threshold for a coverage must rest on
        groups: samples of one group tell as much as one sample together, shape `(sample,)`; None takes each for itself

    Returns:
        the thresholds; where the accuracy cannot be promised, one that accepts nothing, and a note
    """
    if not reject.wanted:
        return Thresholds()
    confidence, top = probabilities.double().max(1)
    correct = (top == labels).numpy()
    scores, predicted = confidence.numpy(), top.numpy()
    units = np.arange(len(labels)) if groups is None else groups.numpy()

    def threshold(chosen: NDArray[np.bool_]) -> tuple[float, str | None]:
        if reject.coverage is not None:
            return covering(reject.coverage, scores[chosen]), None
        assert reject.accuracy is not None
        weight = len(np.unique(units[chosen])) / max(chosen.sum(), 1)
        return bounded_accuracy(reject.accuracy, scores[chosen], correct[chosen], weight)

    everything = np.ones(len(labels), dtype=bool)
    if not reject.per_class:
        value, note = threshold(everything)
        return Thresholds("global", [value], [note] if note else [])
    values, notes, few = [], [], []
    for label in range(probabilities.shape[1]):
        name = str(label) if class_names is None else class_names[label]
        chosen = predicted == label
        seldom = reject.coverage is not None and int(chosen.sum()) < min_samples
        value, note = threshold(everything if seldom else chosen)
        values.append(value)
        few += [name] * seldom
        notes += [f"{name}: {note}"] if note else []
    if few:
        notes.append(
            f"fewer than {min_samples} held-out samples are predicted to be {', '.join(few)}: the threshold of all "
            f"classes together is used"
        )
    return Thresholds("class-wise", values, notes)


def risk_coverage(probabilities: Tensor, labels: Tensor, points: int = CURVE_POINTS) -> dict[str, Any]:
    """Tell how the error falls as the least certain predictions are left out (El-Yaniv and Wiener 2010).

    Samples of equal confidence are accepted together; their errors are spread evenly among them, so that the order of
    samples makes no difference.

    Args:
        probabilities: calibrated, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        points: of the curve, at most

    Returns:
        `aurc`: the error among the accepted, averaged over all coverages (Geifman and El-Yaniv 2017); `coverage`,
        `risk` and `threshold`: lists of the curve's points, from few accepted to all
    """
    confidence, top = probabilities.double().max(1)
    accepted, errors, thresholds = error_curve(confidence.numpy(), (top == labels).numpy())
    shown = np.unique(np.searchsorted(accepted, np.linspace(accepted[0], accepted[-1], points)))
    return {
        "aurc": aurc(accepted, errors),
        "coverage": (accepted[shown] / len(labels)).tolist(),
        "risk": (errors[shown] / accepted[shown]).tolist(),
        "threshold": thresholds[shown].tolist(),
    }


def covering(coverage: float, confidence: NDArray[np.float64]) -> float:
    """Return the highest threshold that accepts a share of samples.

    Args:
        coverage: the share
        confidence: of each sample, shape `(sample,)`
    """
    accepted, _, thresholds = error_curve(confidence, np.ones_like(confidence, dtype=bool))
    # rounding must not ask for one sample more
    return _below(thresholds, int(np.searchsorted(accepted, coverage * len(confidence) - 1e-9)))


def bounded_accuracy(
    accuracy: float, confidence: NDArray[np.float64], correct: NDArray[np.bool_], weight: float = 1.0
) -> tuple[float, str | None]:
    """Return the lowest threshold above which an accuracy on new images is promised.

    Args:
        accuracy: wanted
        confidence: of each held-out sample, shape `(sample,)`
        correct: whether each prediction is right, shape `(sample,)`
        weight: how many independent samples a sample counts for, at most 1

    Returns:
        the threshold, and a note where there is none: it then accepts nothing
    """
    accepted, errors, thresholds = error_curve(confidence, correct)
    counted, wrong = (np.multiply(part, weight, dtype=np.float64) for part in (accepted, errors))
    place = promised(accuracy, counted, wrong) if len(counted) else None
    if place is None:
        return NOTHING, f"{what_it_would_take(accuracy, counted, wrong)}; nothing is accepted"
    return _below(thresholds, place), None


def _below(thresholds: NDArray[np.float64], place: int) -> float:
    """Return a little less than a confidence, but more than the next one: those of sure models lie close together."""
    after = thresholds[place + 1] if place + 1 < len(thresholds) else 0.0
    return float(max(thresholds[place] * (1 - SLACK), (thresholds[place] + after) / 2))
