"""Signs that the labels of what is evaluated are numbered otherwise than those of training."""

from collections.abc import Sequence

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

# standard errors beyond which a difference is no noise
BEYOND_NOISE = 4.0
# share of samples that a renaming of classes must gain to be reported
GAIN = 0.2
# more classes than these are not paired: the pairing would take longer than the evaluation
PAIRED_CLASSES = 2000
# pairs that a note names
NAMED = 3


def label_notes(predicted: Tensor, labels: Tensor, class_names: Sequence[str]) -> list[str]:
    """Say where predictions fit other labels much better than the ones they are compared with.

    Args:
        predicted: class of each sample, shape `(sample,)`
        labels: shape `(sample,)`
        class_names: the name of each class, in label order

    Returns:
        one sentence, or nothing

    Example:
        >>> labels = torch.arange(300) % 3
        >>> label_notes((labels + 1) % 3, labels, ["a", "b", "c"])[0].partition(":")[0]
        'accuracy 0.0000 is below the 0.3333 of chance'
    """
    predicted, labels = predicted.cpu().long(), labels.cpu().long()
    samples, classes = len(labels), len(class_names)
    if not samples:
        return []
    accuracy = float((predicted == labels).double().mean())
    # what the same predictions, dealt out at random, would reach
    shares = [torch.bincount(column, minlength=classes).double() / samples for column in (predicted, labels)]
    chance = float((shares[0] * shares[1]).sum())
    noise = (chance * (1 - chance) / samples) ** 0.5
    below = accuracy < chance - BEYOND_NOISE * noise
    renamed = renamed_accuracy(predicted, labels, classes) if classes <= PAIRED_CLASSES else accuracy
    error = (max(renamed * (1 - renamed), accuracy * (1 - accuracy), 1 / samples) * 2 / samples) ** 0.5
    better = renamed - accuracy > max(GAIN, BEYOND_NOISE * error)
    if not (below or better):
        return []
    said = f"accuracy {accuracy:.4f} is below the {chance:.4f} of chance" if below else f"accuracy is {accuracy:.4f}"
    if not better:
        return [f"{said}: are the labels those of these images, in the order of the classes in training?"]
    pairs = [(p, t) for p, t in enumerate(pairing(predicted, labels, classes).tolist()) if p != t]
    named = ", ".join(f"{class_names[p]} -> {class_names[t]}" for p, t in pairs[:NAMED])
    more = f" and {len(pairs) - NAMED} more" if len(pairs) > NAMED else ""
    return [
        f"{said}: it would be {renamed:.4f} were classes renamed ({named}{more}). Are the labels shifted, or the "
        f"classes in another order than in training?"
    ]


def renamed_accuracy(predicted: Tensor, labels: Tensor, classes: int) -> float:
    """Return the accuracy after the best one-to-one renaming of classes, found on the other half of the samples."""
    hits = 0
    for own in (0, 1):
        asked = torch.arange(len(labels)) % 2 == own
        names = pairing(predicted[~asked], labels[~asked], classes)
        hits += int((names[predicted[asked]] == labels[asked]).sum())
    return hits / len(labels)


def pairing(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return, for each predicted class, the class that it matches best, one to one, shape `(class,)`."""
    counts = torch.bincount(predicted * classes + labels, minlength=classes**2).view(classes, classes)
    # ties keep their names, as does a class without samples and predictions
    scores = counts.double() + 0.5 * torch.eye(classes, dtype=torch.float64)
    return torch.from_numpy(linear_sum_assignment(scores.numpy(), maximize=True)[1])
