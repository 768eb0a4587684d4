"""How often the gain that `stack --dry_run` calls the smallest visible one is seen: it promises four cases in five.

Two models are drawn that are alone right as often as the gain and the share of disagreement say. The gain is seen where
the report's 95 % interval of the paired difference lies above 0, or where McNemar's exact test falls below .05.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from scipy.stats import t

from measures.intervals import accuracy_difference, mcnemar
from measures.power import smallest_visible_gain

UNITS, SHARES = (30, 100, 287, 1000, 10_000), (0.01, 0.05, 0.2)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the draws")
    options = parser.parse_args()
    draws = options.draws // 10 if options.quick else options.draws
    rng = np.random.default_rng(0)
    found = []
    for units in UNITS:
        for discordant in SHARES:
            gain = smallest_visible_gain(units, discordant)
            share = max(discordant, gain)
            by_interval = by_mcnemar = 0
            for wins, losses, rest in rng.multinomial(
                units, [(share + gain) / 2, (share - gain) / 2, 1 - share], draws
            ):
                counts = [wins, losses, rest]
                one, other = np.repeat([True, False, True], counts), np.repeat([False, True, True], counts)
                middle, error = accuracy_difference(one, other, None)
                by_interval += middle - t.ppf(0.975, units - 1) * error > 0
                by_mcnemar += wins > losses and mcnemar(torch.from_numpy(one), torch.from_numpy(other)) < 0.05
            found.append((by_interval / draws, by_mcnemar / draws))
            print(
                f"{units:6,} units, {discordant:.0%} discordant: gain {100 * gain:5.2f} points, seen by the interval "
                f"in {found[-1][0]:.3f}, by McNemar's test in {found[-1][1]:.3f}",
                flush=True,
            )
    of_interval, of_mcnemar = zip(*found, strict=True)
    print(
        json.dumps(
            {
                "benchmark": "power",
                "draws": draws,
                "promised": 0.8,
                "interval": [round(min(of_interval), 3), round(max(of_interval), 3)],
                "mcnemar": [round(min(of_mcnemar), 3), round(max(of_mcnemar), 3)],
            }
        )
    )


if __name__ == "__main__":
    main()
