"""CPU time of quick answers, against the import of the libraries that training needs.

`report --help` and `status` need none of them and `stack --help` no more than it shows, so each should take a small
part of `python -c "import lightning.pytorch, timm"`; `fit` with a misspelt option knows all classes, and should take
little more. Each command is a process of its own; user and system seconds are counted, interleaved, and their medians
compared. The last line holds the worst of them, by the ratio that is wanted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
PEER = [sys.executable, "-c", "import lightning.pytorch, timm"]
# arguments, and the share of the peer's time that is wanted at most
ANSWERS = {
    "report --help": (["report", "--help"], 0.25),
    "stack --help": (["stack", "--help"], 0.25),
    "status": (["status", str(TRAIN.parent / "tests/data/earlier/runs")], 0.25),
    "fit with a misspelt option": (["fit", "--model.hiden", "8"], 1.15),
}


def cpu_seconds(command):
    """Run a command; return the user and system seconds of it and its children."""
    before = os.times()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="for make bench: three repeats")
    options = parser.parse_args()
    commands = {name: [sys.executable, str(TRAIN), *words] for name, (words, _) in ANSWERS.items()}
    seconds = {name: [] for name in ("peer", *commands)}
    for _ in range(3 if options.quick else options.repeats):
        seconds["peer"].append(cpu_seconds(PEER))
        for name, command in commands.items():
            seconds[name].append(cpu_seconds(command))
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    shares = {name: round(middle[name] / middle["peer"], 3) for name in commands}
    for name, share in shares.items():
        print(f"{name}: {middle[name]:.2f} s, {share} of the import (wanted: at most {ANSWERS[name][1]})")
    worst = max(shares, key=lambda name: shares[name] / ANSWERS[name][1])
    print(
        json.dumps(
            {
                "ours": round(middle[worst], 3),
                "peer": round(middle["peer"], 3),
                "unit": "CPU seconds",
                "ratio": round(middle["peer"] / middle[worst], 3),
                "case": worst,
                "shares": shares,
                "table": {
                    "columns": ["command", "CPU seconds", "share of the import"],
                    "rows": [[f"`{name}`", f"{middle[name]:.2f}", f"{share:.3f}"] for name, share in shares.items()],
                },
            }
        )
    )


if __name__ == "__main__":
    main()
