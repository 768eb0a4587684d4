"""Prediction sets that hold the true class of new images as often as is asked (split conformal prediction).

Angelopoulos et al., Uncertainty Sets for Image Classifiers using Conformal Prediction, ICLR 2021 (arXiv:2009.14193).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from common.few import few
from measures.set_options import SetOptions

# probabilities are summed in another order when sets are made than when they are calibrated
ROUNDING = 1e-12
# probabilities held at once, and how many classes of an image are sorted at first: few sets are larger
CHUNK, SORTED = 2**23, 32


class NoSetsError(ValueError):
    """There are no prediction sets; the message is the reason, in a sentence for the user."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where the true class of each held-out sample stands among the model's classes: all that any method needs.

    Args:
        of: what the samples are, such as val
        probability: of the true class, float64, shape `(sample,)`
        above: of all classes that come before it, together, float64, shape `(sample,)`
        rank: of the true class, from 1 for the most probable, int32, shape `(sample,)`
        label: the true class, int32, shape `(sample,)`
        source: number of the sample's source, int32, shape `(sample,)`; None where there are no sources
        source_names: the name of each source
    """

    of: str
    probability: Tensor
    above: Tensor
    rank: Tensor
    label: Tensor
    source: Tensor | None = None
    source_names: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.label)

    def plain(self) -> dict[str, Any]:
        """Return tensors and plain types, from which `Calibration(**plain)` is this again."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def sources_of(self, sources: Tensor | None, names: Sequence[str]) -> Tensor | None:
        """Return the numbers that these samples know other samples' sources by; -1 for one that they do not know.

        Args:
            sources: of other samples, shape `(sample,)`; None where they have none
            names: of those sources
        """
        if sources is None or self.source is None:
            return None
        known = {name: number for number, name in enumerate(self.source_names)}
        return torch.tensor([known.get(name, -1) for name in names])[sources.cpu()]


def calibrate(
    logits: Tensor,
    labels: Tensor,
    of: str,
    sources: Tensor | None = None,
    source_names: Sequence[str] = (),
) -> Calibration:
    """Find where the true class of each held-out sample stands.

    Args:
        logits: as the model will give them for new images, of samples that it was not fitted on, `(sample, class)`
        labels: int64, shape `(sample,)`
        of: what the samples are, such as val
        sources: number of each sample's source, shape `(sample,)`
        source_names: the name of each source
    """
    p = logits.detach().double().softmax(1)
    true = p.gather(1, labels[:, None])
    before = p > true
    above, rank = (p * before).sum(1), 1 + before.sum(1)
    columns = {"probability": true[:, 0], "above": above, "rank": rank.int(), "label": labels.int()}
    if sources is not None:
        columns["source"] = sources.int()
    names = list(source_names) if sources is not None else []
    return Calibration(of, **{name: column.cpu() for name, column in columns.items()}, source_names=names)


def scores(options: SetOptions, probability: Tensor, above: Tensor, rank: Tensor) -> Tensor:
    """Score classes by how little they conform: a set holds those with the lowest scores.

    RAPS scores a class by the probability of those before it, plus a penalty for its rank. The published score adds a
    random share of the class's own probability, which makes sets of the same image differ. Here none is added, and the
    first class, which has none before it, scores below all others, the lower the surer it is. So scores differ,
    coverage is exact without randomness, and the same image always gets the same set.

    Args:
        options: method and penalty
        probability: of each class, any shape
        above: of all classes before it, together, of the same shape
        rank: from 1, of the same shape

    Returns:
        of the same shape
    """
    if options.method == "lac":
        return -probability
    penalty = options.penalty if options.method == "raps" else 0.0
    adaptive = above + penalty * (rank - options.unpenalised).clamp(min=0)
    return torch.where(rank == 1, -probability, adaptive)


def threshold(values: Tensor, coverage: float) -> float | None:
    """Return the score that a new sample stays below or at with the wanted probability; None with too few samples.

    It is the `ceil((n + 1) * coverage)`-th lowest of n (Vovk et al. 2005): the new sample is as likely to come at each
    of n + 1 places among them.

    Args:
        values: scores of the true classes of held-out samples, shape `(sample,)`
        coverage: in (0, 1)

    Example:
        >>> threshold(torch.arange(9.0), 0.9), threshold(torch.arange(8.0), 0.9)
        (8.0, None)
    """
    place = math.ceil((len(values) + 1) * coverage - 1e-9)
    return None if place > len(values) else float(values.double().kthvalue(place).values)


def needed(coverage: float) -> int:
    """Return how many held-out samples a coverage needs at least.

    Example:
        >>> needed(0.9), needed(0.99)
        (9, 99)
    """
    return math.ceil(coverage / (1 - coverage) - 1e-9)


@dataclass(frozen=True, eq=False)
class SetRule:
    """Tells which classes are in the set of an image.

    Args:
        options: what is wanted
        of: what it was calibrated on
        samples: how many these are
        thresholds: the highest score in a set, by class, shape `(class,)`
        by_source: the same for each known source, shape `(source, class)`; None where sources do not matter
        notes: what could not be had, in words
    """

    options: SetOptions
    of: str
    samples: int
    thresholds: Tensor
    by_source: Tensor | None = None
    notes: list[str] = field(default_factory=list)

    def sets(self, logits: Tensor, sources: Tensor | None = None) -> Tensor:
        """Return the set of each image.

        Args:
            logits: shape `(sample, class)`
            sources: number of each image's source as `Calibration.sources_of` gives it; -1 is unknown

        Returns:
            which classes are in it, bool, shape `(sample, class)`
        """
        chosen = torch.empty(logits.shape, dtype=torch.bool)
        width = max(1, CHUNK // logits.shape[1])
        for start in range(0, len(logits), width):
            part = slice(start, start + width)
            chosen[part] = self._sets(logits[part].cpu(), None if sources is None else sources[part])
        return chosen

    def _sets(self, logits: Tensor, sources: Tensor | None) -> Tensor:
        p = logits.double().softmax(1)
        limits = self.thresholds.expand_as(p)
        if self.by_source is not None and sources is not None:
            limits = torch.where((sources >= 0)[:, None], self.by_source[sources.clamp(min=0).long()], limits)
        inside, width = self._first(p, limits, min(SORTED, p.shape[1]))
        chosen = torch.zeros_like(p, dtype=torch.bool).scatter_(1, inside[0], inside[1])
        if len(more := width.nonzero()[:, 0]):
            place, found = self._first(p[more], limits[more], p.shape[1])[0]
            chosen[more] = torch.zeros_like(p[more], dtype=torch.bool).scatter_(1, place, found)
        # a class with too few held-out samples is in every set
        return chosen | limits.isinf()

    def _first(self, p: Tensor, limits: Tensor, count: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Look at the most probable classes of each image.

        Args:
            p: probabilities, shape `(sample, class)`
            limits: highest score of each class, likewise
            count: how many classes are looked at

        Returns:
            which classes these are and whether they are in the set, each `(sample, count)`; and whether others may be
            in it too, shape `(sample,)`
        """
        values, order = p.topk(count, 1) if count < p.shape[1] else p.sort(dim=1, descending=True)
        place = torch.arange(count).expand_as(values)
        # equals come at the same place: that of the first of them
        first = torch.where(values == values.roll(1, 1), 0, place).cummax(1).values
        above = (values.cumsum(1) - values).gather(1, first)
        score = scores(self.options, values, above, first + 1)
        limits = limits.masked_fill(limits.isinf(), -math.inf)
        inside = score <= limits.gather(1, order) + ROUNDING
        more = (score[:, -1:] <= limits.amax(1, keepdim=True) + ROUNDING)[:, 0] & (count < p.shape[1])
        if not self.options.empty:
            inside[:, 0] = True
        return (order, inside), more


def set_rule(calibration: Calibration | None, options: SetOptions, class_names: Sequence[str]) -> SetRule:
    """Calibrate sets to a wanted coverage.

    Args:
        calibration: of held-out samples; None where the model has none
        options: what is wanted
        class_names: the name of each class

    Raises:
        NoSetsError: there is no calibration, or there are too few samples
    """
    if calibration is None:
        raise NoSetsError(
            "the checkpoint holds no held-out scores to calibrate them on: it was made without validation, from leaked "
            "samples, or by an earlier version"
        )
    values = scores(options, calibration.probability, calibration.above, calibration.rank)
    least, wanted = needed(options.coverage), f"a coverage of {options.coverage:g}"
    common = threshold(values, options.coverage)
    if common is None:
        raise NoSetsError(
            f"{wanted} needs {least:,} {calibration.of} samples at least, and there are {len(values):,}: ask for less, "
            f"or hold out more"
        )
    whole = torch.full((len(class_names),), common, dtype=torch.float64)
    of = (options, calibration.of, len(values))
    if options.by == "class":
        found, few_samples = _per_part(values, calibration.label, len(class_names), options.coverage)
        if len(few_samples) == len(class_names):
            raise NoSetsError(f"{wanted} of each class needs {least:,} {calibration.of} samples of a class at least")
        names = few([class_names[number] for number in few_samples])
        note = (
            f"{len(few_samples)} of {len(class_names)} classes have fewer than {least:,} {calibration.of} samples, and "
            f"are in every set: {names}"
        )
        return SetRule(*of, found, notes=[note] if few_samples else [])
    if options.by == "source":
        if calibration.source is None:
            raise NoSetsError("sets by source need sources: a manifest with a source column has them")
        found, few_samples = _per_part(values, calibration.source, len(calibration.source_names), options.coverage)
        found[few_samples] = common
        names = few([calibration.source_names[number] for number in few_samples])
        note = (
            f"{len(few_samples)} of {len(found)} sources have fewer than {least:,} {calibration.of} samples, and the "
            f"threshold of all images: {names}"
        )
        rows = found[:, None].expand(-1, len(class_names))
        return SetRule(*of, whole, rows, [note] if few_samples else [])
    return SetRule(*of, whole)


def _per_part(values: Tensor, part: Tensor, parts: int, coverage: float) -> tuple[Tensor, list[int]]:
    """Return the threshold of each part, infinite where it has too few samples; and the numbers of those parts."""
    found = [threshold(values[part == number], coverage) for number in range(parts)]
    limits = torch.tensor([math.inf if value is None else value for value in found], dtype=torch.float64)
    return limits, [number for number, value in enumerate(found) if value is None]
