"""Where the noise of a gain comes from, and how often its intervals hold the true one, by simulation.

Two models are trained `repeats` times and tested on the same images: each image has a difficulty, each training its own
luck, and each pair of both a rest; a model is right where the sum is above 0. The true components come from 400,000
images and as many trainings. Then two classifiers are trained on folds of small data sets (ridge regressions on all
features and on half of them), and the interval of Nadeau and Bengio is compared with that of independent folds, and
with the true gain, which is that of 200 trainings on 20,000 samples. Between them, settings of a study that are all
equal are compared with the best of them, which must rarely be told from any. Ours and peer are the distances of both
coverages from .95, the ratio is peer / ours.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from scipy.stats import norm, t

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from measures.repeats import corrected_interval, corrected_p, gain_over_repeats, holm

# standard deviations of an image's difficulty, of a training's luck and of the rest, on the scale of the threshold
IMAGE, REST = 1.0, 0.5
LEVELS = (1.3, 1.5)
# repeats, images and luck
SETTINGS = [(5, 359, 0.0), (5, 359, 0.05), (5, 1000, 0.05)]
SETTINGS += [(5, 1000, 0.1), (5, 10_000, 0.1), (3, 1000, 0.1), (2, 1000, 0.1)]


def rights(rng, repeats, size, luck, image=None):
    """Return whether two models are right, shape `(2, repeat, image)`."""
    image = rng.standard_normal(size) if image is None else image
    # the two models share most of an image's difficulty
    own = IMAGE * (0.9 * image + np.sqrt(1 - 0.81) * rng.standard_normal((2, 1, size)))
    training = luck * rng.standard_normal((2, repeats, 1))
    level = np.array(LEVELS).reshape(2, 1, 1)
    return level + own + training + REST * rng.standard_normal((2, repeats, size)) > 0


def gains(rng, repeats, size, luck):
    """Return the gain of the second model, of each training on each image."""
    first, second = rights(rng, repeats, size, luck)
    return second.astype(float) - first


def truth(luck):
    """Return the mean gain and the standard deviation over trainings, on endlessly many images."""
    rng = np.random.default_rng(99)
    spread = np.sqrt(IMAGE**2 + REST**2)
    draws = luck * rng.standard_normal((2, 400_000))
    by_training = norm.cdf((LEVELS[1] + draws[1]) / spread) - norm.cdf((LEVELS[0] + draws[0]) / spread)
    return float(by_training.mean()), float(by_training.std())


def components(draws):
    """Print estimated and true components, and coverage."""
    print("repeats images luck   gain: true told   seeds: true told   images: true told   covered")
    for repeats, size, luck in SETTINGS:
        rng = np.random.default_rng(0)
        value, seeds = truth(luck)
        found = [gain_over_repeats(gains(rng, repeats, size, luck)) for _ in range(draws)]
        images = np.std([gains(rng, 1, size, 0.0).mean() for _ in range(2000)])
        told = [100 * np.mean([getattr(gain, name) for gain in found]) for name in ("value",)]
        squares = [100 * np.sqrt(np.mean([getattr(gain, name) ** 2 for gain in found])) for name in ("seeds", "images")]
        covered = np.mean([gain.low <= value <= gain.high for gain in found])
        print(
            f"{repeats:7} {size:6} {luck:.2f}  {100 * value:10.2f} {told[0]:.2f} {100 * seeds:13.2f} {squares[0]:.2f} "
            f"{100 * images:15.2f} {squares[1]:.2f} {covered:12.3f}"
        )


def ridge(x, y, features):
    """Fit a ridge regression on -1 and 1."""
    x = x[:, :features]
    return np.linalg.solve(x.T @ x + 5 * np.eye(features), x.T @ (2.0 * y - 1))


def sample(rng, size):
    """Draw samples of two classes in 20 dimensions."""
    y = rng.integers(0, 2, size)
    return rng.standard_normal((size, 20)) + 0.25 * (2 * y[:, None] - 1), y


def fold_gains(rng, size, folds, repeats):
    """Return the gain of all features over half of them, on each held-out fold of some divisions of one data set."""
    x, y = sample(rng, size)
    found = []
    for _ in range(repeats):
        fold = rng.permutation(size) % folds
        for number in range(folds):
            held = fold == number
            right = [((x[held, :k] @ ridge(x[~held], y[~held], k)) > 0) == y[held] for k in (10, 20)]
            found.append(right[1].mean() - right[0].mean())
    return found


def folds(draws):
    """Compare the corrected interval with that of independent folds; return both mean distances from .95."""
    distances = [], []
    print("\nsamples folds repeats   corrected independent")
    for size, count, repeats in ((100, 5, 1), (200, 5, 1), (200, 5, 5), (200, 10, 3), (500, 5, 5)):
        rng = np.random.default_rng(0)
        x, y = sample(rng, 20_000)
        value = np.mean(
            [
                np.subtract(*[(((x[:, :k] @ ridge(a, b, k)) > 0) == y).mean() for k in (20, 10)])
                for a, b in (sample(rng, size - size // count) for _ in range(200))
            ]
        )
        hits = np.zeros(2)
        for _ in range(draws):
            found = fold_gains(rng, size, count, repeats)
            low, high = corrected_interval(found, 1 / (count - 1))
            half = t.ppf(0.975, len(found) - 1) * np.std(found, ddof=1) / np.sqrt(len(found))
            hits += low <= value <= high, abs(np.mean(found) - value) <= half
        for distance, share in zip(distances, hits / draws, strict=True):
            distance.append(abs(share - 0.95))
        print(f"{size:7} {count:5} {repeats:7} {hits[0] / draws:11.3f} {hits[1] / draws:11.3f}")
    return [float(np.mean(distance)) for distance in distances]


def rankings(draws):
    """Print how often equal settings of a study are told apart: each compared with the best, with and without Holm."""
    print("\nsettings seeds   corrected by itself")
    for settings in (2, 3, 10, 30):
        for seeds in (3, 5):
            rng, claims = np.random.default_rng(0), np.zeros(2)
            for _ in range(draws):
                values = rng.standard_normal((settings, seeds))
                best = values.mean(1).argmax()
                found = [corrected_p(row - values[best], 0.0) for row in np.delete(values, best, 0)]
                corrected = holm(found, settings * (settings - 1) // 2)
                claims += min(corrected) < 0.05, min(found) < 0.05
            print(f"{settings:8} {seeds:5} {claims[0] / draws:11.3f} {claims[1] / draws:9.3f}")


def main():
    """Run the simulations."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    components(options.draws)
    rankings(2 * options.draws)
    ours, peer = folds(max(1, options.draws // 2))
    print(json.dumps({"benchmark": "repeats", "ours": round(ours, 4), "peer": round(peer, 4), "ratio": peer / ours}))


if __name__ == "__main__":
    main()
