"""What a temperature from few held-out samples does to new images: ours, and that of the highest likelihood.

Models of known calibration: labels are drawn from the softmax of logits, which the model gives multiplied by the ideal
temperature. Each temperature is fitted on a draw of samples, and its NLL on new images is computed exactly. Printed
for each model is the excess of that NLL that 95 % of draws stay below, in percent: over the NLL at a temperature of 1
where 287 samples are drawn (the model is calibrated, or nearly so), and over that at the ideal temperature for 5,000.
The last line holds the worst of the models of up to .987 accuracy.
"""

import argparse
import json
import math
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from scipy.optimize import minimize_scalar

from ensembling.judging.calibration import HIGHEST, LOWEST, fit_temperature

POOL = 5_000
FEW, MANY = 287, 5_000
ACCURACIES = (0.7, 0.9, 0.97, 0.987, 0.995)
# what the promises are about
PROMISED = 0.987
# how much worse than without a temperature, in percent
TOLERATED = 5.0


def gaussian_classes(accuracy, classes, generator):
    """Logits of the posterior of classes that are spheres around the corners of a simplex."""
    noise = torch.randn(POOL, classes, generator=generator, dtype=torch.float64)
    first = torch.eye(classes, dtype=torch.float64)[0]

    def logits(distance):
        return distance * (noise + distance * first)

    return solve(lambda distance: float((logits(distance).argmax(1) == 0).double().mean()), logits, accuracy)


def random_logits(accuracy, classes, generator):
    noise = torch.randn(POOL, classes, generator=generator, dtype=torch.float64)
    return solve(lambda scale: float((scale * noise).softmax(1).amax(1).mean()), lambda scale: scale * noise, accuracy)


def alike_sure(accuracy, classes, generator):
    """Nearly the same confidence in every answer: the most that a few errors can mislead."""
    shape = 0.7 * torch.randn(POOL, generator=generator, dtype=torch.float64)
    first = torch.eye(classes, dtype=torch.float64)[0]

    def logits(height):
        return (height + shape)[:, None] * first

    return solve(lambda height: float(logits(height).softmax(1)[:, 0].mean()), logits, accuracy)


def solve(accuracy_of, logits_of, wanted):
    low, high = 0.0, 2_000.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if accuracy_of(middle) < wanted else (low, middle)
    return logits_of(middle)


KINDS = (gaussian_classes, random_logits, alike_sure)


def most_likely(logits, labels):
    def nll(log_t):
        return float(torch.nn.functional.cross_entropy(logits / math.exp(log_t), labels))

    return math.exp(minimize_scalar(nll, bounds=(math.log(LOWEST), math.log(HIGHEST)), method="bounded").x)


def excesses(calibrated, ideal, samples, draws, generator, over_ideal):
    """Return each draw's NLL on new images, in percent above the reference, of ours and of the most likely."""
    probabilities, logits = calibrated.softmax(1), calibrated * ideal
    grid = torch.linspace(math.log(LOWEST), math.log(HIGHEST), 400, dtype=torch.float64)
    expected = float((probabilities * logits).sum(1).mean())
    curve = torch.stack([(logits / t).logsumexp(1).mean() - expected / t for t in grid.exp()]).numpy()

    def nll(temperatures):
        return np.interp(np.log(temperatures), grid.numpy(), curve)

    found = {"ours": [], "peer": []}
    for _ in range(draws):
        drawn = torch.randint(0, POOL, (samples,), generator=generator)
        labels = torch.multinomial(probabilities[drawn], 1, generator=generator)[:, 0]
        found["ours"].append(fit_temperature(logits[drawn], labels))
        found["peer"].append(most_likely(logits[drawn], labels))
    reference = nll(np.array([ideal if over_ideal else 1.0]))
    return {name: 100 * (nll(np.array(values)) / reference - 1) for name, values in found.items()}


def study(samples, ideals, accuracies, classes, draws, over_ideal):
    """Print and return the excess that 95 % of draws stay below, by model."""
    generator = torch.Generator().manual_seed(samples)
    rows = []
    for kind in KINDS:
        for accuracy in accuracies:
            for number in classes:
                model = kind(accuracy, number, generator)
                for ideal in ideals:
                    found = excesses(model, ideal, samples, draws, generator, over_ideal)
                    row = {name: float(np.quantile(values, 0.95)) for name, values in found.items()}
                    row["mean"] = float(found["ours"].mean())
                    row["within"] = float((found["ours"] <= TOLERATED).mean())
                    rows.append({"promised": accuracy <= PROMISED, **row})
                    print(
                        f"{samples} samples, {kind.__name__}, {number} classes, accuracy {accuracy}, ideal {ideal:g}: "
                        f"ours {row['ours']:.2f} %, peer {row['peer']:.2f} %",
                        flush=True,
                    )
    return rows


def worst(rows, name, promised=True):
    return round(max(row[name] for row in rows if row["promised"] == promised), 2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--quick", action="store_true", help="fewer models and draws, for make bench")
    options = parser.parse_args()
    torch.set_num_threads(1)
    accuracies, classes, draws = ACCURACIES, (3, 10), options.draws
    if options.quick:
        accuracies, classes, draws = (0.9, 0.987, 0.995), (10,), 40
    few = study(FEW, (1.0,) if options.quick else (0.9, 1.0, 1.15), accuracies, classes, draws, over_ideal=False)
    ideals = (3.0,) if options.quick else (0.5, 1.5, 3.0)
    many = study(MANY, ideals, (0.7, 0.9, PROMISED), classes, max(draws // 4, 10), over_ideal=True)
    ours, peer = worst(few, "ours"), worst(few, "peer")
    print(
        json.dumps(
            {
                "ours": ours,
                "peer": peer,
                "unit": "% of NLL lost to no temperature by 287 samples (95 % of draws)",
                "ratio": round(peer / max(ours, 0.01), 2),
                "within_5_percent": min(round(row["within"], 3) for row in few if row["promised"]),
                "at_accuracy_.995": worst(few, "ours", promised=False),
                "lost_to_ideal_by_5000": worst(many, "ours"),
                "lost_to_ideal_by_5000_peer": worst(many, "peer"),
                "lost_to_ideal_by_5000_mean": worst(many, "mean"),
                "draws": draws,
            }
        )
    )


if __name__ == "__main__":
    main()
