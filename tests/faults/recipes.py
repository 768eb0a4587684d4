"""Runs a folder of recipes of situations that strangers met, and says of each whether it ended as it should.

A recipe is a shell or Python script that runs command lines of train.py and prints `exit N` after each; PROJ names the
checkout, PY the interpreter, WORK a folder for what it makes.

usage: python tests/faults/recipes.py FOLDER [NAME ...]
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.helpers.faults import PYTHON_WORDS

REPOSITORY = Path(__file__).resolve().parents[2]
# of each recipe: the exit status of its commands in order, and texts that must, or must not, be in what they print
EXPECTED: dict[str, tuple[list[int], list[str], list[str]]] = {
    "01_exponent_strings": ([0, 0, 0, 0], [], []),
    "01b_exponent_folders": ([0, 0, 0, 0], [], []),
    "02_split_folders_as_classes": ([0, 0], ["glioma", "healthy"], ["Training │", "class Training"]),
    "03_formats_left_out": ([0, 0, 0], [".heic"], []),
    "06_single_callback": ([0, 0, 0], [], []),
    "07_enum_and_device_defaults": ([0, 2, 2], ["average by --ema.decay"], ["Unable to"]),
    "08_latin1_terminal": ([0, 0, 0, 0, 0, 0], [], ["UnicodeEncodeError"]),
    "08b_ordinary_words_latin1": ([0, 0, 0], ["predicted.csv is there: True"], ["predicted.csv is there: False"]),
    "09_class_folder_not_utf8": ([0, 0, 0, 0], [], []),
    "10_missing_labels": ([], ["6"], []),
    "11_names_in_figures": ([0, 0, 0], [], []),
    "12_office_csv": ([], [], []),
    "13_batch_of_one": ([2, 2, 0], ["--data.batch_size"], []),
    "14_config_not_utf8": ([], ["UTF-8"], []),
    "15_spellings_of_one_class": ([], [], []),
    "17_yaml_class_names": ([], [], []),
}


def run(recipe: Path, work: Path) -> tuple[str, list[int]]:
    """Run one recipe; return what it printed, and the exit status of each of its commands."""
    environment = os.environ | {"PROJ": str(REPOSITORY), "PY": sys.executable, "WORK": str(work)}
    shell = ["sh"] if recipe.suffix == ".sh" else [sys.executable]
    done = subprocess.run(
        [*shell, str(recipe)], env=environment, capture_output=True, check=False, timeout=900, cwd=recipe.parent
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    return said, [int(status) for status in re.findall(r"^exit (?:SystemExit )?(-?\d+)$", said, re.M)]


def wrong(name: str, said: str, statuses: list[int]) -> list[str]:
    """Say what a recipe ended with that it should not have."""
    expected, needed, forbidden = EXPECTED[name]
    found = [f"exit statuses {statuses}, not {expected}"] if expected and statuses != expected else []
    found += [f"exit status {status}" for status in statuses if status not in (0, 2)]
    found += [f"{text!r} is not said" for text in needed if text not in said]
    found += [f"{text!r} is said" for text in forbidden if text in said]
    if words := PYTHON_WORDS.search(said):
        found.append(f"Python's words: {said[words.start() : words.start() + 120]!r}")
    return found


def main() -> int:
    folder, chosen = Path(sys.argv[1]), sys.argv[2:]
    recipes = [
        path for path in sorted(folder.iterdir()) if path.stem in EXPECTED and (not chosen or path.stem in chosen)
    ]
    failed = 0
    with tempfile.TemporaryDirectory() as work:
        for recipe in recipes:
            said, statuses = run(recipe, Path(work))
            faults = wrong(recipe.stem, said, statuses)
            failed += bool(faults)
            print(
                f"{'FAILED' if faults else 'right '} {recipe.stem}: {len(statuses)} commands, exit {statuses}",
                flush=True,
            )
            for fault in faults:
                print(f"       {fault}")
            if faults:
                print("       " + "\n       ".join(said.splitlines()[-30:]))
    print(f"{len(recipes) - failed} of {len(recipes)} recipes ended as they should")
    return 1 if failed or not recipes else 0


if __name__ == "__main__":
    sys.exit(main())
