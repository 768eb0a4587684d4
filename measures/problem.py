"""What is measured of two classes, one of which is looked for, and of ordered classes, beside all other metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from measures.conformal import Calibration, needed, threshold
from measures.set_coverage import rate


@dataclass(frozen=True)
class Problem:
    """What is known of the classes beside their names.

    Args:
        ordinal: whether they are ordered, in label order
        positive: number of the one that is looked for, of two; None where neither is
        specificity: share of the other class that is to be recognised as such, in (0, 1)
    """

    ordinal: bool = False
    positive: int | None = None
    specificity: float = 0.95


def problem_metrics(probabilities: Tensor, labels: Tensor, problem: Problem) -> dict[str, float]:
    """Compute the metrics that only some problems have.

    Args:
        probabilities: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        problem: what is known of the classes

    Returns:
        of two classes brier_binary (the mean square for one class, as scikit-learn's brier_score_loss: half of brier);
        with a positive one also sensitivity, specificity, precision_positive and f1_positive of the most probable
        class, average_precision_positive, and sensitivity_at_specificity, of the threshold that suits these very
        samples; of ordered classes quadratic_kappa (Cohen 1968) and mean_absolute_error (in steps of the order)
    """
    found: dict[str, float] = {}
    predicted = probabilities.argmax(1)
    if probabilities.shape[1] == 2:
        found["brier_binary"] = float((probabilities[:, 1] - labels).square().mean())
    if problem.positive is not None:
        found |= positive_metrics(
            probabilities[:, problem.positive], predicted == problem.positive, labels == problem.positive, problem
        )
    if problem.ordinal:
        found["quadratic_kappa"] = quadratic_kappa(predicted, labels, probabilities.shape[1])
        found["mean_absolute_error"] = float((predicted - labels).abs().double().mean())
    return found


def names_of(problem: Problem, classes: int) -> set[str]:
    """Return the names of the metrics that `problem_metrics` computes.

    Args:
        problem: what is known of the classes
        classes: how many there are

    Example:
        >>> sorted(names_of(Problem(ordinal=True), 4))
        ['mean_absolute_error', 'quadratic_kappa']
    """
    probabilities = torch.full((2, classes), 1 / classes, dtype=torch.float64)
    return set(problem_metrics(probabilities, torch.arange(2) % classes, problem))


def positive_metrics(scores: Tensor, predicted: Tensor, truth: Tensor, problem: Problem) -> dict[str, float]:
    """Compute what is asked of a class that is looked for; NaN where it, or the other one, is absent.

    Args:
        scores: its probability, shape `(sample,)`
        predicted: whether it is the most probable class, bool, shape `(sample,)`
        truth: whether it is the true one, bool, shape `(sample,)`
        problem: says the specificity that is wanted
    """
    hits, positives, negatives = (float(mask.sum()) for mask in (predicted & truth, truth, ~truth))
    rejected, called = float((~predicted & ~truth).sum()), float(predicted.sum())
    return {
        "sensitivity": hits / positives if positives else float("nan"),
        "specificity": rejected / negatives if negatives else float("nan"),
        # as scikit-learn counts them: 0 where nothing is called positive
        "precision_positive": hits / called if called else 0.0,
        "f1_positive": 2 * hits / (called + positives) if called + positives else 0.0,
        "average_precision_positive": average_precision(scores, truth),
        "sensitivity_at_specificity": sensitivity_at(scores, truth, problem.specificity),
    }


def average_precision(scores: Tensor, truth: Tensor) -> float:
    """Return scikit-learn's average precision, in double precision; NaN without a positive.

    Args:
        scores: shape `(sample,)`
        truth: bool, shape `(sample,)`
    """
    # slow to import
    from sklearn.metrics import average_precision_score

    if not truth.any():
        return float("nan")
    return float(average_precision_score(truth.cpu().numpy(), scores.double().cpu().numpy()))


def sensitivity_at(scores: Tensor, truth: Tensor, specificity: float) -> float:
    """Return the greatest share of positives above a threshold that leaves enough negatives at it or below.

    Args:
        scores: shape `(sample,)`
        truth: bool, shape `(sample,)`
        specificity: share of the negatives that must not be above it

    Example:
        >>> sensitivity_at(torch.tensor([0.1, 0.2, 0.6, 0.5, 0.7]), torch.tensor([0, 0, 0, 1, 1]).bool(), 0.5)
        1.0
    """
    if truth.all() or not truth.any():
        return float("nan")
    negatives = scores[~truth].double().sort(descending=True).values
    allowed = int((1 - specificity) * len(negatives) + 1e-9)
    return float((scores[truth].double() > negatives[allowed]).double().mean())


def quadratic_kappa(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Return scikit-learn's kappa with the square of the distance as weight (Cohen 1968).

    Args:
        predicted: int64, shape `(sample,)`
        labels: int64, shape `(sample,)`
        classes: how many there are

    Returns:
        1 where all agree, 0 where they agree as by chance; NaN where all samples are, and are called, of one class
    """
    # slow to import
    from sklearn.metrics import cohen_kappa_score

    if len(torch.cat([predicted, labels]).unique()) < 2:
        return float("nan")
    one, other = (each.cpu().numpy() for each in (labels, predicted))
    return float(cohen_kappa_score(one, other, labels=range(classes), weights="quadratic"))


def operating_point(
    calibration: Calibration | None,
    logits: Tensor,
    labels: Tensor,
    problem: Problem,
    class_names: Sequence[str],
    unit: NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    """Choose a threshold on held-out samples, and measure it on others.

    It is the lowest that a new image of the other class stays below or at with the probability that is wanted.

    Args:
        calibration: held-out samples of the model; None where there are none
        logits: of the samples to measure it on, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        problem: with a positive class
        class_names: the name of each class
        unit: the group of each sample, numbered from 0; None where samples are independent

    Returns:
        the positive class, the threshold of its probability, what it was chosen on, and sensitivity and specificity
        with their intervals; or `missing` with the reason
    """
    assert problem.positive is not None
    said: dict[str, Any] = {"class": class_names[problem.positive], "wanted": problem.specificity}
    if calibration is None:
        return said | {"missing": "the model has no held-out samples to choose a threshold on"}
    negative = calibration.label != problem.positive
    # of two classes, what the true one lacks is the other's
    limit = threshold(1 - calibration.probability[negative], problem.specificity)
    chosen_on = {"split": calibration.of, "samples": int(negative.sum())}
    if limit is None:
        return said | {
            "missing": f"a specificity of {problem.specificity:.4g} takes {needed(problem.specificity)} images of the "
            f"other class to choose a threshold on, and {chosen_on['split']} has {chosen_on['samples']}"
        }
    above = (logits.detach().double().softmax(1)[:, problem.positive] > limit).cpu().numpy()
    truth = (labels == problem.positive).cpu().numpy()
    parts = {"sensitivity": (above, truth), "specificity": (~above, ~truth)}
    return said | {
        "threshold": limit,
        "chosen_on": chosen_on,
        **{
            name: {"samples": int(of.sum()), **rate(right[of], None if unit is None else unit[of])}
            for name, (right, of) in parts.items()
        },
    }


def told(point: dict[str, Any]) -> str:
    """Put what `operating_point` has found into one sentence.

    Args:
        point: what it returned
    """
    wanted = f"{100 * point['wanted']:g} % specificity for {point['class']}"
    if "missing" in point:
        return f"no threshold of {wanted}: {point['missing']}"
    on = point["chosen_on"]
    return (
        f"{wanted}, by probabilities above {point['threshold']:.4g} (chosen on {on['samples']:,} {on['split']} images "
        f"of the other class): {_rate('sensitivity', point)}, {_rate('specificity', point)}"
    )


def _rate(name: str, point: dict[str, Any]) -> str:
    found = point[name]
    if found["value"] is None:
        return f"no image to measure {name} on"
    ends = "" if found["low"] is None else f" ({found['low']:.1%} to {found['high']:.1%}, of this training)"
    return f"{name} {found['value']:.1%}{ends} of {found['samples']:,} images"
