"""What the best of several models loses on new samples, and what the report says of it (BBC-CV).

Models of known accuracy, whose errors go together as members' do, are tested on a draw of samples; the best of them is
chosen. Printed is how much its accuracy on these samples is above its true one, on average, beside the mean estimate.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from scipy.stats import norm

from measures.winners_curse import winners_curse

MODELS, SAMPLES, BEST, SPREADS, SHARED = (2, 8, 30), (359, 2000), 0.95, (0.0, 0.03), 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--replicates", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    options = parser.parse_args()
    draws = options.draws // 10 if options.quick else options.draws
    rng = np.random.default_rng(0)
    rows = []
    for models in MODELS:
        for samples in SAMPLES:
            for spread in SPREADS:
                accuracy = BEST - spread * np.linspace(0, 1, models)
                lost, told = [], []
                for seed in range(draws):
                    common, own = rng.standard_normal(samples), rng.standard_normal((models, samples))
                    right = np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own < norm.ppf(accuracy)[:, None]
                    best = right.mean(1).argmax()
                    lost.append(right.mean(1)[best] - accuracy[best])
                    told.append(winners_curse(right, replicates=options.replicates, seed=seed))
                accuracies = f"{BEST - spread:.2f} to {BEST:.2f}" if spread else f"all {BEST}"
                rows.append((models, accuracies, samples, 100 * np.mean(lost), 100 * np.mean(told)))
                print(
                    f"{models:2} models, accuracy {BEST - spread:.2f} to {BEST:.2f}, {samples:5,} samples: loses "
                    f"{100 * np.mean(lost):5.2f} points, told {100 * np.mean(told):5.2f}",
                    flush=True,
                )
    models, accuracies, samples, loses, tells = max(rows, key=lambda row: abs(row[4] - row[3]))
    worst = {"models": f"{models}: {accuracies}, {samples} samples", "loses": f"{loses:.2f}", "told": f"{tells:.2f}"}
    table = {
        "columns": ["models", "accuracy", "test samples", "loses", "told"],
        "rows": [[*row[:2], f"{row[2]:,}", *(f"{value:.2f}" for value in row[3:])] for row in rows],
    }
    result = {"benchmark": "winners_curse", "draws": draws, "worst_error_points": round(abs(tells - loses), 2)}
    print(json.dumps(result | {"worst": worst, "table": table}))


if __name__ == "__main__":
    main()
