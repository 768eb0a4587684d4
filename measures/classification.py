"""Classification metrics of one whole split, computed once from its gathered logits."""

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics.functional.classification import (
    multiclass_average_precision,
    multiclass_calibration_error,
    multiclass_confusion_matrix,
)

from measures.problem import Problem, problem_metrics

PLAIN = Problem()


def classification_metrics(logits: Tensor, labels: Tensor, problem: Problem = PLAIN) -> dict[str, float]:
    """Compute every metric that a run reports.

    All samples weigh the same. Averages over classes are over the classes present: `num_classes_present` says how
    many. Macro precision and F1 also count classes that were predicted but are absent, as scikit-learn does.

    Args:
        logits: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        problem: what is known of the classes; see `problem_metrics`

    Returns:
        by name: accuracy, top-k accuracy (k is 5, or one less than there are classes; of classes that are as likely the
        first comes first, as in the accuracy), balanced accuracy; precision,
        recall and F1 as macro and weighted averages; one-versus-rest AUROC and average precision; nll (mean negative
        log-likelihood, nats), brier (sum over classes, in [0, 2]; Brier 1950), ece (15 bins; Guo et al. 2017)

    Raises:
        ValueError: logits that are not finite, or of a shape that does not fit the labels

    Example:
        >>> metrics = classification_metrics(torch.eye(3) * 9, torch.arange(3))
        >>> metrics["accuracy"], round(metrics["nll"], 3)
        (1.0, 0.0)
    """
    if logits.ndim != 2 or len(logits) != len(labels) or not len(labels):
        raise ValueError(f"logits {tuple(logits.shape)} do not fit labels {tuple(labels.shape)}")
    if not torch.isfinite(logits).all():
        raise ValueError("logits hold NaN or infinite values")
    num_classes = logits.shape[1]
    log_probabilities = logits.double().log_softmax(1)
    probabilities = log_probabilities.exp()
    confusion = multiclass_confusion_matrix(probabilities, labels, num_classes).double()
    true_positives, support, predicted = confusion.diag(), confusion.sum(1), confusion.sum(0)
    present = support > 0
    seen = present | (predicted > 0)
    recall = true_positives / support.clamp(min=1)
    precision = true_positives / predicted.clamp(min=1)
    f1 = 2 * true_positives / (support + predicted).clamp(min=1)
    weight = support / support.sum()
    k = min(5, num_classes - 1)
    # a class without a positive, or with nothing else, has no ROC curve
    ranked = present & (support < support.sum())
    values = {
        "accuracy": true_positives.sum() / support.sum(),
        f"top{k}_accuracy": (rank_of_label(log_probabilities, labels) < k).double().mean(),
        "balanced_accuracy": recall[present].mean(),
        "precision_macro": precision[seen].mean(),
        "precision_weighted": (precision * weight).sum(),
        "recall_macro": recall[seen].mean(),
        "recall_weighted": (recall * weight).sum(),
        "f1_macro": f1[seen].mean(),
        "f1_weighted": (f1 * weight).sum(),
        "auroc": _over_present(_aurocs, probabilities, labels, ranked),
        "average_precision": _over_present(multiclass_average_precision, probabilities, labels, ranked),
        "nll": -log_probabilities.gather(1, labels[:, None]).mean(),
        "brier": (probabilities - torch.nn.functional.one_hot(labels, num_classes)).square().sum(1).mean(),
        "ece": multiclass_calibration_error(probabilities, labels, num_classes, n_bins=15, norm="l1"),
        "num_classes_present": present.sum(),
    }
    return {name: float(value) for name, value in values.items()} | problem_metrics(probabilities, labels, problem)


def metrics_by_source(
    logits: Tensor, labels: Tensor, sources: Tensor, names: Sequence[str], problem: Problem = PLAIN
) -> dict[str, dict[str, float | None]]:
    """Compute every metric for each source apart; see `classification_metrics`.

    Args:
        logits: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        sources: index of where each sample comes from, int64, shape `(sample,)`
        names: the name of each source
        problem: what is known of the classes

    Returns:
        by source that is present: `samples`, and the metrics; None where one is not defined, such as the AUROC of a
        source with a single class
    """
    results = {}
    for number in sources.unique().tolist():
        members = sources == number
        metrics = classification_metrics(logits[members], labels[members], problem)
        values = {name: None if math.isnan(value) else value for name, value in metrics.items()}
        results[names[number]] = {"samples": int(members.sum()), **values}
    return results


def pairwise_source_auroc(
    logits: Tensor, labels: Tensor, sources: Tensor, class_names: Sequence[str], source_names: Sequence[str]
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Tell how well images of a class from one source are ranked above images of other classes from another.

    Where a model has learnt where an image comes from, rather than what it shows, the values off the diagonal differ
    from those on it: images of a source in which a class is frequent are ranked above those of all others.

    Args:
        logits: shape `(sample, class)`
        labels: int64, shape `(sample,)`
        sources: index of where each sample comes from, int64, shape `(sample,)`
        class_names: the name of each class
        source_names: the name of each source

    Returns:
        by class, by source of its images, by source of the others: the one-versus-rest AUROC; None where there are no
        such images
    """
    probabilities = logits.double().softmax(1)
    present = sources.unique().tolist()
    results: dict[str, dict[str, dict[str, float | None]]] = {}
    for label in labels.unique().tolist():
        pairs: dict[str, dict[str, float | None]] = {source_names[number]: {} for number in present}
        for one, other in itertools.product(present, present):
            positive = (labels == label) & (sources == one)
            negative = (labels != label) & (sources == other)
            taken = positive | negative
            defined = bool(positive.any() and negative.any())
            value = auroc(probabilities[taken, label], positive[taken]) if defined else None
            pairs[source_names[one]][source_names[other]] = value
        results[class_names[label]] = pairs
    return results


def rank_of_label(scores: Tensor, labels: Tensor) -> Tensor:
    """Count the classes that come before each sample's own; of equal ones the first does, as in `argmax`.

    Args:
        scores: shape `(sample, class)`
        labels: int64, shape `(sample,)`

    Returns:
        int64, shape `(sample,)`
    """
    own = scores.gather(1, labels[:, None])
    earlier = torch.arange(scores.shape[1], device=scores.device) < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(1)


def auroc(scores: Tensor, positive: Tensor) -> float:
    """Compute how often a positive sample has a higher score than a negative one; equal scores count half.

    In double precision throughout: torchmetrics adds up in single precision, and comes to more than 1.

    Args:
        scores: shape `(sample,)`
        positive: bool, shape `(sample,)`; some are, and some are not
    """
    # on the host: a cumulative sum on a GPU is not deterministic
    values, place, counts = scores.double().cpu().unique(return_inverse=True, return_counts=True)
    negatives = torch.bincount(place[~positive.cpu()], minlength=len(values)).double()
    positives = counts - negatives
    below = negatives.cumsum(0) - negatives / 2
    return float((positives * below).sum() / (positives.sum() * negatives.sum()))


def _aurocs(probabilities: Tensor, labels: Tensor, num_classes: int, average: str) -> Tensor:
    found = torch.full((num_classes,), torch.nan, dtype=torch.float64, device=labels.device)
    for label in labels.unique().tolist():
        positive = labels == label
        if not positive.all():
            found[label] = auroc(probabilities[:, label], positive)
    return found


def _over_present(metric, probabilities: Tensor, labels: Tensor, ranked: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
    if not ranked.any():
        return torch.tensor(float("nan"))
    per_class = metric(probabilities, labels, probabilities.shape[1], average="none")
    return per_class.double()[ranked].mean()
