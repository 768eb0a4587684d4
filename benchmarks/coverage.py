"""How often 95 % intervals hold the true value, and how often equal models are told apart, by simulation.

Samples are drawn from populations of known accuracy (scores of classes with a normal noise; logits that are calibrated
or twice as sure as they may be), by themselves or in groups that share a part of the noise. The true values are those
of 400,000 samples. A row holds four populations whose accuracies lie around the stated one, as at a single accuracy
whole counts make coverage jump. An interval that is not printed does not count. The peer is what stood here before:
percentiles of 1,000 resamples, of the linearised metric, on a quarter of the draws. Ours and peer are the mean distance
of coverage from .95, the ratio is peer / ours. `--claims` draws runs and heads that are equally good, and prints how
often one is told apart.
"""

import argparse
import functools
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ensembling.judging.selection import recommend
from measures.bootstrap import less_best, resample
from measures.intervals import Measured, measure

METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "auroc", "nll", "brier")
# samples and groups
SIZES = ((100, 0), (300, 0), (1000, 0), (100, 10), (400, 20))
ACCURACIES = (0.5, 0.7, 0.9, 0.95, 0.99)
# share of the noise that samples of a group have in common, and models
GROUPED, SHARED = 0.3, 0.9
LOW, HIGH = 0.93, 0.97


def draw(rng, size, groups, strengths, classes, sharpness=1.0):
    """Return logits of models by name, labels, and the group of each sample."""
    unit = np.arange(size) % groups if groups else None
    labels = rng.integers(0, classes, size)

    def noise():
        own = rng.standard_normal((size, classes))
        if unit is None:
            return own
        return np.sqrt(GROUPED) * rng.standard_normal((groups, classes))[unit] + np.sqrt(1 - GROUPED) * own

    shared, logits = noise(), {}
    for name, strength in strengths.items():
        scores = np.sqrt(SHARED) * shared + np.sqrt(1 - SHARED) * noise()
        scores[np.arange(size), labels] += strength
        logits[name] = torch.from_numpy(strength * sharpness * scores)
    return logits, torch.from_numpy(labels), None if unit is None else torch.from_numpy(unit)


def strength_of(accuracy, classes):
    """Return the distance of the classes at which so many samples are right."""
    noise = np.random.default_rng(0).standard_normal((200_000, classes))
    rest, own = noise[:, 1:].max(1), noise[:, 0]
    return float(np.quantile(rest - own, accuracy))


def covers(interval, truth):
    return None if interval["low"] is None else interval["low"] <= truth <= interval["high"]


def percentiles(of_sample, value, weights, unit):
    """Return the percentile interval of the bootstrap, from influences."""
    sums = of_sample if unit is None else np.bincount(unit, of_sample)
    low, high = value + np.quantile(sums @ weights, [0.025, 0.975]) / len(of_sample)
    return {"low": low, "high": high}


@functools.cache
def true_values(strength, classes, sharpness):
    """Return the metrics of 400,000 samples of a population."""
    large = draw(np.random.default_rng(1), 400_000, 0, {"one": strength}, classes, sharpness)
    return measure(*large[:2], METRICS).points["one"]


def coverage(rng, accuracy, sharpness, size, groups, draws, classes):
    """Return lists of what is covered, by interval, of ours and of the peer."""
    ours, peer = {}, {}
    spread = min(1 - accuracy, 0.2)
    for step in (-0.3, -0.1, 0.1, 0.3):
        strength = strength_of(accuracy + step * spread, classes)
        pair = {"one": strength, "two": strength}
        truths = true_values(strength, classes, sharpness)
        weights = next(resample(groups or size, 1000, int(step * 10) + 5))
        for number in range(draws // 4):
            logits, labels, unit = draw(rng, size, groups, pair, classes, sharpness)
            found: Measured = measure(logits, labels, METRICS, unit)
            for metric in METRICS:
                truth = truths[metric]
                one, two = found.models["one"], found.models["two"]
                ours.setdefault(metric, []).append(covers(found.metric("one", metric), truth))
                ours.setdefault(f"{metric} difference", []).append(covers(found.difference("one", "two", metric), 0))
                if number % 4:
                    continue
                held = percentiles(one.of_sample[metric], one.values[metric], weights, found.unit)
                peer.setdefault(metric, []).append(covers(held, truth))
                gap = one.of_sample[metric] - two.of_sample[metric]
                held = percentiles(gap, one.values[metric] - two.values[metric], weights, found.unit)
                peer.setdefault(f"{metric} difference", []).append(covers(held, 0))
    return ours, peer


def print_coverage(options):
    """Print a row for each population and size, and return what the last line says."""
    rng = np.random.default_rng(options.seed)
    names = [name for metric in METRICS for name in (metric, f"{metric} difference")]
    short = ["acc", "d", "bal", "d", "F1", "d", "AUC", "d", "NLL", "d", "Brier", "d"]
    print(
        "acc.  sure  n    groups  "
        + " ".join(f"{name:>5}" for name in short)
        + "  (d: paired difference) | percentiles"
    )
    apart, before, outside, cells, pooled = [], [], [], 0, {}
    sizes, accuracies = (SIZES[::3], ACCURACIES[1::2]) if options.quick else (SIZES, ACCURACIES)
    for accuracy in accuracies:
        for sharpness in (1.0, 2.0):
            for size, groups in sizes:
                ours, peer = coverage(rng, accuracy, sharpness, size, groups, options.draws, options.classes)
                row = []
                for name in names:
                    shown = [held for held in ours[name] if held is not None]
                    held = float(np.mean(shown)) if shown else float("nan")
                    row.append(held)
                    pooled.setdefault(name, []).extend(shown)
                    if shown:
                        cells += 1
                        apart.append(abs(held - 0.95))
                        before.append(abs(np.mean(peer[name]) - 0.95))
                        if not LOW <= held <= HIGH:
                            outside.append((accuracy, sharpness, size, groups, name, round(held, 3)))
                old = " ".join(f"{np.mean(peer[name]):5.3f}" for name in names)
                line = " ".join(f"{held:5.3f}" for held in row)
                print(f"{accuracy:.2f}  {sharpness:.0f} x   {size:<5d}{groups:<6d}  {line} | {old}", flush=True)
    low = [found for found in outside if found[-1] < LOW]
    print(f"\nof {cells} coverages {len(low)} lie below {LOW}, and {len(outside) - len(low)} above {HIGH}; below:")
    for found in low:
        print("  accuracy {}, {} x as sure, n {}, {} groups, {}: {}".format(*found))
    print("all together: " + ", ".join(f"{name} {np.mean(held):.3f}" for name, held in pooled.items()))
    ours, peer = float(np.mean(apart)), float(np.mean(before))
    result = {"ours": round(ours, 4), "peer": round(peer, 4), "unit": "coverage error", "ratio": round(peer / ours, 2)}
    return result | {"draws": options.draws, "below": len(low), "above": len(outside) - len(low), "coverages": cells}


def share(events):
    return round(float(np.mean(events)), 3)


def print_claims(options):
    """Print how often equal runs are told from the best, and equal models from the best member."""
    rng = np.random.default_rng(options.seed)
    draws, result = options.draws, {}
    for size, groups, accuracy in ((300, 0, 0.9), (1000, 0, 0.98), (1000, 20, 0.9)):
        strength = strength_of(accuracy, options.classes)
        for count in (5, 12, 30):
            told, alone = [], []
            for seed in range(draws):
                runs = {str(number): strength for number in range(count)}
                logits, labels, unit = draw(rng, size, groups, runs, options.classes)
                right = np.stack([(rows.argmax(1) == labels).numpy() for rows in logits.values()])
                best = int(right.mean(1).argmax())
                found = less_best(right, best, None if unit is None else unit.numpy(), seed)
                told.append(any(interval["high"] < 0 for interval in found))
                one = measure(logits, labels, ["accuracy"], unit)
                pairs = [one.difference(name, str(best), "accuracy") for name in logits if name != str(best)]
                alone.append(any(interval["high"] < 0 for interval in pairs))
            result[f"{count} equal runs, n {size}, {groups} groups, accuracy {accuracy}"] = share(told)
            print(
                f"{count} equal runs, n {size}, {groups} groups, accuracy {accuracy}: one is told from the best in "
                f"{share(told)} of draws (each pair by itself: {share(alone)})",
                flush=True,
            )
    members, heads = ["a", "b", "c"], ["mean", "tuned_mean", "logistic", "mlp"]
    for size, accuracy, gain in (
        (287, 0.98, 0.0),
        (1000, 0.9, 0.0),
        (1000, 0.98, 0.0),
        (1000, 0.9, 0.01),
        (1000, 0.95, 0.01),
        (5000, 0.9, 0.01),
    ):
        weak, strong = (strength_of(accuracy + more, options.classes) for more in (0.0, gain))
        strengths = dict.fromkeys([*members, *heads[:2]], weak) | dict.fromkeys(heads[2:], strong)
        more, helps = [], []
        for seed in range(draws):
            logits, labels, _ = draw(rng, size, 0, strengths, options.classes)
            found = recommend(measure(logits, labels, ["accuracy", "nll"]), members, heads, seed=seed)
            more.append(found.model not in members)
            helps.append(bool(found.head_helps))
        what = "all models equal" if not gain else f"trained heads {100 * gain:g} points better"
        print(
            f"{what}, n {size}, accuracy {accuracy}: a stack is recommended in {share(more)}, a trained head in "
            f"{share(helps)}",
            flush=True,
        )
        result[f"{what}, n {size}, accuracy {accuracy}"] = share(more)
    return {"draws": draws, "claims": result}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--claims", action="store_true", help="how often equal models are told apart")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.draws = min(options.draws, 80)
    print(json.dumps(print_claims(options) if options.claims else print_coverage(options)))


if __name__ == "__main__":
    main()
