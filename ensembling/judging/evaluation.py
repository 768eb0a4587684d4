"""The stack's report: every model on the untouched test samples, and what held-out samples say to use."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ensembling.choices import SMALLEST_GAIN
from ensembling.judging.calibration import fit_temperature
from ensembling.judging.diversity import diversity
from ensembling.judging.notes import notes_against, notes_on_samples
from ensembling.judging.predictions import TUNED_MEAN, Predictions
from ensembling.judging.rejection import Thresholds, risk_coverage
from ensembling.judging.selection import (
    COMPARED,
    HELD_OUT,
    LEAKED,
    Pool,
    best_member,
    by_simplicity,
    pareto_front,
    recommend,
    worth,
)
from ensembling.logits import mean_logits
from measures.bootstrap import REPLICATES
from measures.frequency import accuracy_by_frequency, frequency_parts
from measures.influence import METRICS
from measures.intervals import LEVEL, Measured, mcnemar, measure, numbered
from measures.winners_curse import winners_curse

# metrics that a temperature changes; it also changes the AUROC, but hardly
CALIBRATED = ("nll", "brier", "ece")


def stack_report(
    test: Predictions,
    held_out: Predictions,
    *,
    temperatures: Mapping[str, float] | None = None,
    parameters: Mapping[str, int] | None = None,
    ms_per_image: Mapping[str, float] | None = None,
    greedy_weights: Mapping[str, float] | None = None,
    thresholds: Mapping[str, Thresholds] | None = None,
    leakage: Mapping[str, Sequence[str]] | None = None,
    notes: Sequence[str] = (),
    failed: Sequence[str] = (),
    repeats: int = 0,
    class_counts: Sequence[int] = (),
    keep: str | None = None,
    pool: Pool = mean_logits,
    smallest_gain: float = SMALLEST_GAIN,
    replicates: int = REPLICATES,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a stack's members and heads on the test samples.

    Whatever is chosen (the best member, the recommended model, the Pareto front, a member's worth) is chosen on
    held-out samples; the test samples are only reported on.

    Args:
        test: logits on the test split; the mean of the members is added if it is not among the heads
        held_out: logits on the meta samples, the heads' cross-fitted
        temperatures: by model, fitted on held-out samples; a model without one is not calibrated
        parameters: by model; a head without them has those of all members
        ms_per_image: by model, measured; a head without it costs what all members cost
        greedy_weights: by member, its share in the greedy selection
        thresholds: by model, for what would be rejected of the test samples
        leakage: sentences in `allowed` and `warnings`, as in result.json
        notes: sentences to print beside the numbers
        failed: heads whose fit failed; they are not compared
        repeats: how many of the last held-out rows repeat earlier ones, so that all classes count alike
        class_counts: training images of each class, in label order; where a few classes have most of them, accuracy is
            told by frequency too
        keep: the model that is kept; the recommended one unless given
        pool: how predictions are pooled to compute the members' worth; see `selection.worth`
        smallest_gain: what matters for the recommendation, of accuracy or in nats
        replicates: resamples of the bootstrap behind the recommendation
        seed: of its draws

    Returns:
        plain types only, None where something is undefined. An interval is `{"value", "low", "high"}`.
        `models` (a row a model: `name`, `kind`, `metrics` after its `temperature`, `uncalibrated` before, `held_out`,
        `parameters`, `ms_per_image`, `pareto`, `risk_coverage`, `rejection`, `by_frequency` of long-tailed classes),
        `best_member` (`held_out`, `test`),
        `differences` (a row a head and reference), `failed_heads` (names), `winners_curse` (of the accuracy on test),
        `diversity`, `worth`, `recommendation`, `leakage`, `notes`, and the samples, replicates, level, smallest gain
        and seed behind them

    Raises:
        ValueError: logits that are not finite or do not fit; the message names the model
    """
    test.check("test")
    held_out.check("held-out")
    test, held_out = test.with_mean(), held_out.with_mean()
    if set(test.models()) != set(held_out.models()):
        odd = sorted(set(test.models()) ^ set(held_out.models()))
        raise ValueError(f"{', '.join(odd)}: predictions are needed on both test and held-out samples")
    temperatures = temperatures or {}
    scaled = test.scaled(temperatures)
    delivered = measure(scaled, test.labels, METRICS, test.groups)
    uncalibrated = measure(test.models(), test.labels, CALIBRATED, test.groups)
    chosen_on = measure(held_out.scaled(temperatures), held_out.labels, COMPARED, held_out.groups)
    members, heads = list(test.members), by_simplicity(list(test.heads))
    best = best_member(chosen_on, members)
    costs = _costs(members, heads, ms_per_image or {})
    sizes = _costs(members, heads, parameters or {})
    known = {name: cost for name, cost in costs.items() if cost is not None}
    front = pareto_front(known, {name: chosen_on.points[name]["accuracy"] for name in known})
    parts = frequency_parts(class_counts)
    rows = []
    for name in (*members, *heads):
        probabilities = scaled[name].double().softmax(1)
        limit = (thresholds or {}).get(name)
        rows.append(
            {
                "name": name,
                "kind": "member" if name in test.members else "head",
                "metrics": {metric: delivered.metric(name, metric) for metric in METRICS},
                "temperature": temperatures.get(name),
                "uncalibrated": {metric: uncalibrated.metric(name, metric) for metric in CALIBRATED}
                if name in temperatures
                else None,
                "held_out": {metric: chosen_on.metric(name, metric) for metric in COMPARED},
                "parameters": sizes[name],
                "ms_per_image": costs[name],
                "pareto": name in front if name in known else None,
                "risk_coverage": risk_coverage(probabilities, test.labels),
                "rejection": None if limit is None else _rejection(limit, probabilities, test.labels),
            }
            | ({"by_frequency": accuracy_by_frequency(probabilities, test.labels, parts)} if parts else {})
        )
    by_accuracy = max(members, key=lambda name: (delivered.points[name]["accuracy"], -delivered.points[name]["nll"]))
    present = test.labels.unique()
    chosen_from = LEAKED if (leakage or {}).get("allowed") else HELD_OUT
    if repeats:
        chosen_from = f"rows, which repeat {len(held_out.labels) - repeats:,} {chosen_from} so that classes count alike"
    recommendation = recommend(
        chosen_on,
        members,
        heads,
        chosen_from,
        costs=costs,
        smallest_gain=smallest_gain,
        replicates=replicates,
        seed=seed,
    )
    differences = _differences(test, scaled, delivered, uncalibrated, heads, best, temperatures)
    stays = keep or recommendation.model
    kept = next(row for row in rows if row["name"] == stays)
    against = notes_against(kept, differences, chosen_on.units, delivered.units)
    return {
        "samples": len(test.labels),
        "held_out_samples": len(held_out.labels) - repeats,
        "classes": test.members[members[0]].shape[1],
        "classes_present": len(present),
        "groups": None if test.groups is None else delivered.units,
        "replicates": replicates,
        "level": LEVEL,
        "smallest_gain": smallest_gain,
        "seed": seed,
        "models": rows,
        "best_member": {"held_out": best, "test": by_accuracy},
        "differences": differences,
        "winners_curse": _winners_curse(scaled, test, seed),
        "failed_heads": list(failed),
        "diversity": diversity(test.members, test.labels),
        "worth": worth(
            held_out.members,
            held_out.labels,
            calibrated_pool(pool, held_out.labels, held_out.groups) if temperatures else pool,
            greedy_weights,
            held_out.groups,
        ),
        "recommendation": asdict(recommendation),
        "leakage": {"allowed": [], "warnings": [], **(leakage or {})},
        "notes": [*notes, *against, *notes_on_samples(test, held_out, delivered, chosen_on, present)],
    }


def calibrated_pool(pool: Pool, labels: Tensor, groups: Tensor | None = None) -> Pool:
    """Give each pooled prediction its temperature, so that a member's worth is not what a temperature could give.

    Args:
        pool: from members' logits `(sample, member, class)` to logits `(sample, class)`
        labels: of the same samples, int64, shape `(sample,)`
        groups: of the same samples, shape `(sample,)`; None takes each for itself
    """

    def pooled(logits: Tensor) -> Tensor:
        found = pool(logits)
        return found.double() / fit_temperature(found, labels, groups)

    return pooled


def _costs(members: Sequence[str], heads: Sequence[str], measured: Mapping[str, float]) -> dict[str, float | None]:
    own = {name: measured.get(name) for name in members}
    known = [cost for cost in own.values() if cost is not None]
    total = sum(known) if len(known) == len(members) else None
    return {**own, **{name: measured.get(name, total) for name in heads}}


def _differences(
    test: Predictions,
    scaled: Mapping[str, Tensor],
    delivered: Measured,
    uncalibrated: Measured,
    heads: Sequence[str],
    best: str,
    temperatures: Mapping[str, float],
) -> list[dict[str, Any]]:
    correct = {name: rows.argmax(1) == test.labels for name, rows in scaled.items()}
    references = [("best_member", best), *([("tuned_mean", TUNED_MEAN)] if TUNED_MEAN in heads else [])]
    rows = []
    for reference, other in references:
        for name in heads:
            if name == other:
                continue
            both = name in temperatures and other in temperatures
            rows.append(
                {
                    "model": name,
                    "reference": reference,
                    "to": other,
                    "accuracy": delivered.difference(name, other, "accuracy"),
                    "nll": delivered.difference(name, other, "nll"),
                    "nll_uncalibrated": uncalibrated.difference(name, other, "nll") if both else None,
                    "only_this_right": int((correct[name] & ~correct[other]).sum()),
                    "only_other_right": int((~correct[name] & correct[other]).sum()),
                    "mcnemar_p": mcnemar(correct[name], correct[other]),
                }
            )
    return rows


def _winners_curse(scaled: Mapping[str, Tensor], test: Predictions, seed: int) -> float | None:
    # whoever picks the best row of the table picks it on test
    right = torch.stack([rows.argmax(1) == test.labels for rows in scaled.values()]).numpy()
    return winners_curse(right, numbered(test.groups), seed=seed)


def _rejection(thresholds: Thresholds, probabilities: Tensor, labels: Tensor) -> dict[str, Any]:
    accepted = thresholds.accepted(probabilities)
    right = (probabilities.argmax(1) == labels)[accepted]
    return {
        "kind": thresholds.kind,
        "coverage": float(accepted.double().mean()),
        "accuracy": float(right.double().mean()) if len(right) else None,
        "notes": list(thresholds.notes),
    }
