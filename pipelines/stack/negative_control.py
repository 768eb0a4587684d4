"""Negative control: a head over permuted labels and a member of noise, which must not be found to be of use."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ensembling.heads.fitting import Head
from ensembling.heads.pooling import MeanHead, TunedMeanHead
from ensembling.judging.calibration import fit_temperature
from ensembling.judging.predictions import Predictions
from ensembling.judging.selection import COMPARED, recommend
from ensembling.logits import mean_of_folds
from measures.intervals import measure
from pipelines.stack.members import MemberLogits

PERMUTED, NOISE = "permuted labels", "noise"
# standard errors above chance that are an alarm: one in a thousand stacks has it by chance
ALARM = 3.1


class Fitted(Protocol):
    """What a fitted head says, as `pipelines.stack.result.FittedHead` does."""

    @property
    def held_out(self) -> Tensor:
        """For each meta sample, by a head that was fitted without it, shape `(sample, class)`."""

    @property
    def test(self) -> Tensor:
        """For each test sample, by the runs of each fold, shape `(sample, fold, class)`."""


Fit = Callable[[Head, MemberLogits, MemberLogits], Fitted]


def negative_control(
    heads: Mapping[str, Head],
    meta: MemberLogits,
    test: MemberLogits,
    held_out: Predictions,
    tested: Predictions,
    temperatures: Mapping[str, float],
    fit: Fit,
    smallest_gain: float,
    seed: int,
) -> dict[str, Any]:
    """Fit a head on permuted labels, and one over the members and one more of noise; tell what they claim.

    Both are fitted, calibrated and judged as all heads are, beside the models of the stack; none of them is kept.

    Args:
        heads: of the stack, by name; the first trained one is the example
        meta: the members' logits for the meta samples
        test: for the test samples
        held_out: what members and heads say of the meta samples
        tested: of the test samples
        temperatures: by model; empty where nothing is calibrated
        fit: fits a head on meta samples, and asks it for the test samples
        smallest_gain: in accuracy that matters
        seed: of the permutation and the noise

    Returns:
        of plain types: `head` (the example's name), `rows` (`name`, `what`, `value`, `low`, `high` and `expected` on
        held-out samples, and `test`), `recommended` (the model among all and the controls), `alarms` (a sentence for
        each claim that must not be) and `sentence`
    """
    trained = {name: head for name, head in heads.items() if not isinstance(head, MeanHead | TunedMeanHead)}
    name, head = next(iter((trained or heads).items()))
    draw = torch.Generator().manual_seed(seed)
    shuffled = replace(meta, labels=meta.labels[torch.randperm(len(meta.labels), generator=draw)])
    permuted = fit(head, shuffled, test)
    noise_meta, noise_test = (noise_like(part.logits, draw) for part in (meta, test))
    noisy = fit(head, with_member(meta, noise_meta), with_member(test, noise_test))
    with_noise = f"{name} with {NOISE}"
    added = {PERMUTED: permuted, with_noise: noisy}
    beside = Predictions(
        meta.labels,
        {**held_out.members, NOISE: noise_meta},
        {**held_out.heads, **{each: fitted.held_out for each, fitted in added.items()}},
        meta.units,
    )
    at_test = Predictions(
        test.labels,
        {**tested.members, NOISE: noise_test},
        {**tested.heads, **{each: mean_of_folds(fitted.test) for each, fitted in added.items()}},
        test.units,
        {**tested.folds, **{each: fitted.test for each, fitted in added.items()}},
    )
    warm = dict(temperatures)
    if temperatures:
        controls = {name: rows for name, rows in beside.models().items() if name in (NOISE, *added)}
        warm |= {each: fit_temperature(rows, meta.labels, meta.units) for each, rows in controls.items()}
    found = measure(beside.scaled(warm), meta.labels, COMPARED, meta.units)
    on_test = measure(at_test.scaled(warm), test.labels, COMPARED, test.units)
    recommended = recommend(
        found, list(beside.members), list(beside.heads), smallest_gain=smallest_gain, seed=seed
    ).model
    rows = [
        chance_row(PERMUTED, permuted.held_out, shuffled, on_test.metric(PERMUTED, "accuracy")["value"]),
        chance_row(NOISE, noise_meta, meta, on_test.metric(NOISE, "accuracy")["value"]),
        {
            "name": with_noise,
            "what": f"accuracy less that of {name}",
            **found.difference(with_noise, name, "accuracy"),
            "expected": 0.0,
            "test": on_test.difference(with_noise, name, "accuracy")["value"],
        },
    ]
    alarms = [
        f"{row['name']}: {row['what']} is {row['value']:.4f} on held-out samples, beyond the {row['expected']:.4f} of "
        f"chance"
        for row in rows
        if row["low"] is not None and row["low"] > row["expected"]
    ]
    if recommended in (NOISE, *added):
        alarms.append(f"{recommended} would be recommended")
    said = (
        "; ".join(alarms) + ": something tells the heads what they should not know, or chance did; try another seed"
        if alarms
        else "as it must be, none of it is above chance, and none would be recommended"
    )
    return {
        "head": name,
        "rows": rows,
        "recommended": recommended,
        "alarms": alarms,
        "sentence": f"negative control: {said}",
    }


def with_member(samples: MemberLogits, logits: Tensor) -> MemberLogits:
    """Add a member that is one run.

    Args:
        samples: with the others' logits
        logits: its own, shape `(sample, class)`
    """
    by_fold = samples.by_fold
    if by_fold is not None:
        copies = logits[:, None, None].expand(-1, by_fold.shape[1], -1, -1)
        by_fold = torch.cat([by_fold, copies], 2)
    return replace(samples, logits=torch.cat([samples.logits, logits[:, None]], 1), by_fold=by_fold)


def noise_like(logits: Tensor, draw: torch.Generator) -> Tensor:
    """Draw the logits of a member that knows nothing, on the scale of the others.

    Args:
        logits: shape `(sample, base, class)`
        draw: of the noise

    Returns:
        logarithms of probabilities, shape `(sample, class)`
    """
    spread = float(logits.log_softmax(2).std())
    noise = torch.randn(len(logits), logits.shape[2], generator=draw)
    return (noise * spread).log_softmax(1).to(logits.dtype)


def chance_row(name: str, logits: Tensor, samples: MemberLogits, test: float | None) -> dict[str, Any]:
    """Compare how often a model is right with how often chance would be, for the classes that it names.

    Args:
        name: of the model
        logits: shape `(sample, class)`
        samples: with the labels that it was to learn
        test: its accuracy on test

    Returns:
        a row, whose `low` is what the accuracy is above beyond chance: 3.1 standard errors below it
    """
    predicted, classes = logits.argmax(1), logits.shape[1]
    shares = [torch.bincount(part, minlength=classes).double() / len(part) for part in (predicted, samples.labels)]
    chance = float((shares[0] * shares[1]).sum())
    accuracy = float((predicted == samples.labels).double().mean())
    units = len(samples.labels) if samples.units is None else len(samples.units.unique())
    half = ALARM * math.sqrt(chance * (1 - chance) / units)
    return {
        "name": name,
        "what": "accuracy",
        "value": accuracy,
        "low": max(accuracy - half, 0.0),
        "high": min(accuracy + half, 1.0),
        "expected": chance,
        "test": test,
    }
