"""Where the true classes of held-out samples stand for a stack's kept model: what its prediction sets are made by."""

from collections.abc import Sequence

from torch import Tensor

from ensembling.folds import meta_folds
from ensembling.judging.calibration import fit_temperature
from measures.conformal import Calibration, calibrate

FOLDS = 5


def cross_calibrated(
    logits: Tensor, labels: Tensor, seed: int = 0, groups: Tensor | None = None, folds: int = FOLDS
) -> Tensor:
    """Divide held-out logits by temperatures that were fitted on the other folds.

    One that was fitted on all of them has seen their labels, and sets that are calibrated on the same samples would
    cover too little.

    Args:
        logits: cross-fitted, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        seed: names the folds, which are those of `cross_fit`
        groups: never divided between folds, shape `(sample,)`
        folds: how many

    Returns:
        float64, of the same shape
    """
    fold = meta_folds(labels, folds, seed, groups)
    scaled = logits.double()
    for number in range(int(fold.max()) + 1):
        held = fold == number
        scaled[held] /= fit_temperature(logits[~held], labels[~held])
    return scaled


def held_out_scores(
    logits: Tensor,
    labels: Tensor,
    calibrated: bool,
    seed: int = 0,
    groups: Tensor | None = None,
    sources: Tensor | None = None,
    source_names: Sequence[str] = (),
    repeats: int = 0,
) -> Calibration:
    """Find where the true classes stand in the kept model's cross-fitted logits.

    Args:
        logits: cross-fitted, before any temperature, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        calibrated: whether the model has a temperature
        seed: names the folds of the temperatures
        groups: never divided between folds, shape `(sample,)`
        sources: number of each sample's source, shape `(sample,)`
        source_names: the name of each source
        repeats: how many of the last rows repeat earlier ones; the temperatures count them, the sets do not
    """
    scaled = cross_calibrated(logits, labels, seed, groups) if calibrated else logits
    own = slice(len(labels) - repeats)
    return calibrate(scaled[own], labels[own], "held-out", None if sources is None else sources[own], source_names)
