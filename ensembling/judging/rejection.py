"""Leaving the least certain images to a person: risk and coverage, and thresholds for them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ensembling.judging.reject import Reject
from measures.risk_coverage import aurc, error_curve

# above every probability: nothing is accepted
NOTHING = 2.0
# thresholds lie at most this share below the confidence they were chosen at: rounding must not reject what was accepted
SLACK = 1e-6
# held-out samples that a threshold must rest on
MIN_SAMPLES = 20
# with fewer held-out samples of one class, its threshold for an accuracy is likely to be too low: of those that reach
# the accuracy, the one that accepts most is taken
FEW_SAMPLES = 200
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
) -> Thresholds:
    """Choose the thresholds that reach a wanted accuracy or coverage on held-out samples.

    Of the thresholds that reach it the one that accepts most is taken (for a coverage: that accepts least). A class
    that is predicted for fewer than `min_samples` held-out samples gets the threshold of all classes together.

    Args:
        reject: what is wanted
        probabilities: calibrated, of held-out samples, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        class_names: for the notes
        min_samples: held-out samples that a threshold for an accuracy must accept, if there are as many

    Returns:
        the thresholds; where the accuracy is out of reach, one that accepts nothing, and a note
    """
    if not reject.wanted:
        return Thresholds()
    confidence, top = probabilities.double().max(1)
    correct = (top == labels).numpy()
    scores, predicted = confidence.numpy(), top.numpy()
    value, note = _threshold(reject, scores, correct, min_samples)
    if not reject.per_class:
        return Thresholds("global", [value], [note] if note else [])
    values, notes, few, rough = [], [], [], []
    for label in range(probabilities.shape[1]):
        name = str(label) if class_names is None else class_names[label]
        chosen = predicted == label
        if chosen.sum() < min_samples:
            values.append(value)
            few.append(name)
            continue
        own, out_of_reach = _threshold(reject, scores[chosen], correct[chosen], min_samples)
        values.append(own)
        if reject.accuracy is not None and chosen.sum() < FEW_SAMPLES and not out_of_reach:
            rough.append(name)
        notes += [f"{name}: {out_of_reach}"] if out_of_reach else []
    if few:
        notes.append(
            f"fewer than {min_samples} held-out samples are predicted to be {', '.join(few)}: the threshold of all "
            f"classes together is used" + (f" ({note})" if note else "")
        )
    if rough:
        notes.append(
            f"fewer than {FEW_SAMPLES} held-out samples are predicted to be {', '.join(rough)}: on new images the "
            f"accuracy of what is accepted is likely to be below {reject.accuracy:g}"
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


def _threshold(
    reject: Reject, confidence: NDArray[np.float64], correct: NDArray[np.bool_], min_samples: int
) -> tuple[float, str | None]:
    accepted, errors, thresholds = error_curve(confidence, correct)
    if reject.coverage is not None:
        # rounding must not ask for one sample more
        place = int(np.searchsorted(accepted, reject.coverage * len(confidence) - 1e-9))
        return _below(thresholds, place), None
    assert reject.accuracy is not None
    enough = accepted >= min(min_samples, len(confidence))
    accuracy = 1 - errors / accepted
    reaching = np.flatnonzero(enough & (accuracy >= reject.accuracy - 1e-12))
    if len(reaching):
        return _below(thresholds, int(reaching[-1])), None
    best = int(np.argmax(np.where(enough, accuracy, -1)))
    return NOTHING, (
        f"an accuracy of {reject.accuracy:g} is out of reach on held-out samples: {accuracy[best]:.4f}, at a coverage "
        f"of {accepted[best] / len(confidence):.3f}, is the most; nothing is accepted"
    )


def _below(thresholds: NDArray[np.float64], place: int) -> float:
    """Return a little less than a confidence, but more than the next one: those of sure models lie close together."""
    after = thresholds[place + 1] if place + 1 < len(thresholds) else 0.0
    return float(max(thresholds[place] * (1 - SLACK), (thresholds[place] + after) / 2))
