"""How sure a model is of its right and of its wrong predictions."""

from torch import Tensor

# what `confidence_of` may return
CONFIDENCE = ("confidence_right", "confidence_right_sd", "confidence_wrong", "confidence_wrong_sd")


def confidence_of(logits: Tensor, right: Tensor) -> dict[str, float]:
    """Return the mean and standard deviation of the highest probability, of right and of wrong predictions.

    Args:
        logits: shape `(sample, class)`
        right: which are right, bool, shape `(sample,)`

    Returns:
        by column; what is not defined, as a mean over no sample, is left out
    """
    highest = logits.double().softmax(1).amax(1)
    found = {}
    for name, chosen in (("right", highest[right]), ("wrong", highest[~right])):
        if len(chosen):
            found[f"confidence_{name}"] = float(chosen.mean())
        if len(chosen) > 1:
            found[f"confidence_{name}_sd"] = float(chosen.std())
    return found
