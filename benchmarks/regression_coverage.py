"""How often 95 % intervals of MSE, MAE and R2 hold the true value, by simulation.

Values have a deviation of 2; errors are normal, of Student's t with 5 degrees of freedom, larger for values far from
the mean, or shared by half within groups of five. The true values are those of four million samples. An interval that
is not printed does not count. The peer is the value plus and minus 1.96 standard errors. Ours and peer are the mean
distance of coverage from .95, the ratio is peer / ours.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measures.intervals import MIN_UNITS
from measures.regression import regression_intervals, regression_metrics

SIZES = (20, 50, 200, 1000)
METRICS = ("mse", "mae", "r2")
KINDS = ("normal", "heavy tails", "unequal", "groups of 5")


def draw(rng, kind, size):
    """Return predictions, values and groups."""
    values = rng.normal(0, 2, size)
    groups = np.arange(size) // 5 if kind == "groups of 5" else None
    noise = rng.standard_normal(size)
    if kind == "heavy tails":
        noise = rng.standard_t(5, size)
    elif kind == "unequal":
        noise *= np.abs(values) / 2 + 0.1
    elif groups is not None:
        noise = np.sqrt(0.5) * (noise + rng.standard_normal(groups.max() + 1)[groups])
    return (
        torch.from_numpy(values + noise),
        torch.from_numpy(values),
        None if groups is None else torch.from_numpy(groups),
    )


def wald(predictions, values):
    """Return the peer's intervals, low and high by metric."""
    errors, centred = (predictions - values).numpy(), (values - values.mean()).numpy()
    mse, variance = np.square(errors).mean(), np.square(centred).mean()
    parts = {
        "mse": (mse, np.square(errors)),
        "mae": (np.abs(errors).mean(), np.abs(errors)),
        "r2": (1 - mse / variance, (np.square(errors) - mse / variance * np.square(centred)) / variance),
    }
    return {
        name: (value - 1.96 * part.std() / len(part) ** 0.5, value + 1.96 * part.std() / len(part) ** 0.5)
        for name, (value, part) in parts.items()
    }


def main():
    """Print a table of coverages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, apart = np.random.default_rng(options.seed), {"ours": [], "peer": []}
    print(f"{'errors':12} {'samples':>7} " + " ".join(f"{name:>6} {'peer':>5}" for name in METRICS))
    for kind in KINDS:
        true = regression_metrics(*draw(np.random.default_rng(1), kind, 4_000_000)[:2])
        for size in SIZES:
            if kind == "groups of 5" and size // 5 < MIN_UNITS:
                # there is no interval
                continue
            held = np.zeros((2, len(METRICS)))
            for _ in range(options.draws):
                predictions, values, groups = draw(rng, kind, size)
                ours, peer = regression_intervals(predictions, values, groups), wald(predictions, values)
                for number, name in enumerate(METRICS):
                    low, high = ours[name]["low"], ours[name]["high"]
                    held[0, number] += low <= true[name] <= high
                    held[1, number] += peer[name][0] <= true[name] <= peer[name][1]
            held /= options.draws
            for who, row in zip(apart, held, strict=True):
                apart[who] += np.abs(row - 0.95).tolist()
            print(f"{kind:12} {size:7} " + " ".join(f"{a:6.3f} {b:5.3f}" for a, b in held.T))
    ours, peer = (float(np.mean(values)) for values in apart.values())
    print(f"mean distance from .95: ours {ours:.4f}, peer {peer:.4f}, ratio {peer / ours:.1f}")


if __name__ == "__main__":
    main()
