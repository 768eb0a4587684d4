"""How often prediction sets hold the true class of tested images, and how large they are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from measures.conformal import Calibration, NoSetsError, set_rule
from measures.intervals import MIN_UNITS, numbered, rate_interval, standard_error, t_quantile
from measures.set_options import SetOptions


def set_report(
    calibration: Calibration | None,
    options: SetOptions,
    logits: Tensor,
    labels: Tensor,
    class_names: Sequence[str],
    sources: Tensor | None = None,
    groups: Tensor | None = None,
) -> dict[str, Any]:
    """Measure sets on tested images: those that are asked for, and the other versions that can be had.

    Args:
        calibration: of held-out samples
        options: what is wanted
        logits: of the tested images, shape `(sample, class)`
        labels: int64, shape `(sample,)`
        class_names: the name of each class
        sources: number of each image's source, as `Calibration.sources_of` gives it
        groups: of images that are not independent, shape `(sample,)`

    Returns:
        plain types. `missing` alone, a sentence, where there are no sets. Else `method`, `coverage` (wanted), `by`,
        `empty`, `calibrated_on` (the `split`, its `samples`, and the `range` of coverages that 95 % of calibrations on
        so many samples lead to), `samples`, `groups`, `covered` (with its interval), `first_right` (how often the most
        probable class is the true one), `size` (`mean`, `median`, `largest`, `sizes`: a row a size), `classes` and
        `sources` (a row each), `versions` (coverage, mean size, and the lowest coverage of a class, by version), and
        `notes`
    """
    try:
        rule = set_rule(calibration, options, class_names)
    except NoSetsError as reason:
        return {"missing": str(reason)}
    assert calibration is not None
    labels, sources = labels.cpu(), None if sources is None else sources.cpu()
    unit = None if groups is None else numbered(groups.cpu())
    inside = rule.sets(logits, sources)
    held, size = inside.gather(1, labels[:, None])[:, 0].numpy(), inside.sum(1).numpy()
    true = labels.numpy()
    notes = [*rule.notes]
    if options.by == "source":
        unknown = len(true) if sources is None else int((sources < 0).sum())
        if unknown:
            notes.append(f"{unknown:,} images are of no known source: they have the sets of all images")
    versions: dict[str, dict[str, Any]] = {}
    for by in ("all", "class", *(["source"] if sources is not None else [])):
        other = SetOptions(**{**vars(options), "by": by})
        try:
            chosen = inside if by == options.by else set_rule(calibration, other, class_names).sets(logits, sources)
        except NoSetsError as reason:
            versions[by] = {"missing": str(reason)}
            continue
        covered = chosen.gather(1, labels[:, None])[:, 0].numpy()
        each = [float(covered[true == number].mean()) for number in np.unique(true)]
        mean_size = float(chosen.sum(1).double().mean())
        versions[by] = {"covered": rate(covered, unit), "mean_size": mean_size, "least_of_a_class": min(each)}
    found: dict[str, Any] = {
        "method": options.method,
        "coverage": options.coverage,
        "by": options.by,
        "empty": options.empty,
        "calibrated_on": {
            "split": rule.of,
            "samples": rule.samples,
            "range": calibration_range(rule.samples, options.coverage),
        },
        "samples": len(true),
        "groups": None if unit is None else int(unit.max()) + 1,
        "covered": rate(held, unit),
        "first_right": float((logits.argmax(1).cpu() == labels).double().mean()),
        "size": {
            "mean": float(size.mean()),
            "median": float(np.median(size)),
            "largest": int(size.max()),
            "sizes": [_row({"classes": int(number)}, size == number, held, size) for number in np.unique(size)],
        },
        "classes": [_row({"name": name}, true == number, held, size, unit) for number, name in enumerate(class_names)],
        "versions": versions,
        "notes": notes,
    }
    if sources is not None:
        names = {-1: "unknown", **dict(enumerate(calibration.source_names))}
        of = sources.numpy()
        found["sources"] = [
            _row({"name": names[number]}, of == number, held, size, unit) for number in np.unique(of).tolist()
        ]
    return found


def rate(held: NDArray[np.bool_], unit: NDArray[np.intp] | None = None) -> dict[str, float | None]:
    """Return a share of samples with its 95 % score interval (Wilson 1927).

    Samples in groups count for as many independent ones as have the variance that the groups show (Korn and Graubard
    1998), and the quantile is that of Student's t for so many groups.

    Args:
        held: shape `(sample,)`
        unit: the group of each sample, numbered from 0; None where samples are independent

    Returns:
        `value`, `low` and `high`; None where there are no samples, or too few for an interval

    Example:
        >>> {name: round(value, 3) for name, value in rate(np.arange(100) > 9).items()}
        {'value': 0.9, 'low': 0.825, 'high': 0.945}
    """
    if not len(held):
        return {"value": None, "low": None, "high": None}
    value, worth, units = float(held.mean()), float(len(held)), len(held)
    if unit is not None:
        _, unit = np.unique(unit, return_inverse=True)
        units = int(unit.max()) + 1
        variance = standard_error(held.astype(np.float64) - value, unit)[0] ** 2
        # all alike: the groups might be, too
        worth = min(worth, value * (1 - value) / variance if variance > 0 else units)
    if units < MIN_UNITS:
        return {"value": value, "low": None, "high": None}
    low, high = rate_interval(value, worth, t_quantile(units - 1))
    return {"value": value, "low": low, "high": high}


def calibration_range(samples: int, coverage: float) -> list[float]:
    """Return between which coverages 95 % of calibrations on so many samples lie (Vovk 2012: a beta distribution).

    Args:
        samples: that sets are calibrated on
        coverage: that is wanted

    Example:
        >>> [round(end, 2) for end in calibration_range(100, 0.9)]
        [0.84, 0.95]
    """
    place = math.ceil((samples + 1) * coverage - 1e-9)
    return [float(end) for end in betaincinv(place, samples + 1 - place, [0.025, 0.975])]


def _row(
    row: dict[str, Any],
    chosen: NDArray[np.bool_],
    held: NDArray[np.bool_],
    size: NDArray[np.int64],
    unit: NDArray[np.intp] | None = None,
) -> dict[str, Any]:
    mean_size = float(size[chosen].mean()) if chosen.any() else None
    covered = rate(held[chosen], None if unit is None else unit[chosen])
    return {**row, "samples": int(chosen.sum()), "covered": covered, "mean_size": mean_size}


def spoken(report: dict[str, Any]) -> str:
    """Put what `set_report` has found into one sentence.

    Args:
        report: what it returned
    """
    if "missing" in report:
        return f"no prediction sets: {report['missing']}"
    covered, size, on = report["covered"], report["size"], report["calibrated_on"]
    ends = "" if covered["low"] is None else f" ({covered['low']:.1%} to {covered['high']:.1%}, of this training)"
    wanted = named(report["coverage"], report["method"], report["by"])
    sentence = (
        f"{wanted}, calibrated on {on['samples']:,} {on['split']} samples, hold the true class of "
        f"{covered['value']:.1%}{ends} of {report['samples']:,} images; {size['mean']:.2f} classes on average, "
        f"{size['largest']} at most"
    )
    if report["first_right"] > report["coverage"] and not report["empty"]:
        sentence += (
            f"; a set holds one class at least, and the most probable one alone is right in {report['first_right']:.1%}"
        )
    return sentence


def named(coverage: float, method: str, by: str) -> str:
    """Name the sets that options ask for.

    Args:
        coverage: wanted
        method: of the scores
        by: what the coverage holds for

    Example:
        >>> named(0.9, "raps", "all"), named(0.995, "lac", "class")
        ('90 % sets (raps)', '99.5 % sets by class (lac)')
    """
    part = "" if by == "all" else f" by {by}"
    return f"{100 * coverage:g} % sets{part} ({method})"
