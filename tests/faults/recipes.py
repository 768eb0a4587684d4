"""Runs a folder of recipes of situations that strangers met, and says of each whether it ended as it should.

A recipe is a shell or Python script that runs command lines of train.py and prints `exit N` after each; PROJ names the
checkout, PY the interpreter, WORK a folder for what it makes.

usage: python -m tests.faults.recipes FOLDER [NAME ...]
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.helpers.faults import PYTHON_WORDS

REPOSITORY = Path(__file__).resolve().parents[2]
# for each recipe: the exit status of its commands in order, and texts that must, or must not, be in what they print
EXPECTED: dict[str, tuple[list[int], list[str], list[str]]] = {
    "01_exponent_strings": ([0, 0, 0, 0], ["│ 12e4 ", "│ 7e1 ", "runs/digits/4e12345/checkpoints/last.ckpt"], []),
    "01b_exponent_folders": ([0, 0, 0, 0], ['- "1e3"', '- "no"', '- "2024-01-05"', '- "on: off"'], []),
    "02_split_folders_as_classes": (
        [0, 0],
        ["│ glioma  │    11 │   1 │    4 │", "│ healthy │    11 │   1 │    4 │"],
        ["Training │", "class Training"],
    ),
    "03_formats_left_out": (
        [0, 0, 0],
        ["40 of 41 files are images; left out: 1 .heic (pip install", "new/p0.avif,", "new/p0.jfif,"],
        [],
    ),
    "06_single_callback": ([0, 0, 0], [], []),
    "07_enum_and_device_defaults": ([0, 2, 2], ["average by --ema.decay"], ["Unable to"]),
    "08_latin1_terminal": ([0, 0, 0, 0, 0, 0], ["359 predictions: "], ["UnicodeEncodeError"]),
    "08b_ordinary_words_latin1": ([0, 0, 0], ["predicted.csv is there: True"], ["predicted.csv is there: False"]),
    "09_class_folder_not_utf8": ([0, 0, 0, 0], ["bytes: 40,896 in 48 files"], ["not drawn"]),
    "10_missing_labels": (
        [2, 2, 2, 0, 0],
        [
            "nan.parquet, row 4: the label is missing ('nan', a/003.png); 6 of 48 labels are missing",
            "nan.csv, row 4: the label is missing ('nan', a/003.png); 6 of 48 labels are missing",
            "na.csv, row 4: the label is missing ('NA', a/003.png); 6 of 48 labels are missing",
            "group.csv: 32 of 48 rows have no group: each is a group of its own",
            "group_empty.csv: 32 of 48 rows have no group: each is a group of its own",
        ],
        [],
    ),
    "11_names_in_figures": ([0, 0, 0], ["test_per_class.png", "test_embeddings_pca.png"], ["not drawn"]),
    "12_office_csv": (
        [0, 2, 0, 0, 0, 2, 0, 0, 0, 0, 0],
        [
            "is one of a Windows drive: make it relative to the manifest, or to --data.root (24 such rows",
            "ansi.csv, line 14: cannot be read as UTF-8 text: save it as CSV UTF-8, or name its encoding",
            "blank_tail.csv: 2 empty rows left out",
        ],
        ["upper.csv, ", "index.csv, "],
    ),
    "13_batch_of_one": ([2, 2, 0], ["--data.batch_size 1 makes a batch of one image"], []),
    "14_config_not_utf8": (
        [2, 2, 0, 0, 2],
        ["ansi.yaml, line 1: the text is not UTF-8; save the file", "plan.yaml, line 1: the text is not UTF-8"],
        ["bom.yaml, line", "utf16.yaml, line"],
    ),
    "15_spellings_of_one_class": (
        [0, 0, 2, 0, 2],
        [
            "│ chêne │    11 │   1 │    4 │",
            "are one class, 'chêne': the names differ in Unicode form alone",
            "'Cat' (12 images) and 'cat' (12 images), 'dog' (12 images) and 'dog ' (12 images)",
            "(6 rows) for 'chêne'",
            "'HEALTHY' (4 images) and 'Healthy' (4 images) and 'healthy' (4 images)",
        ],
        [],
    ),
    "17_yaml_class_names": (
        [2, 2, 0],
        [
            "--data.class_names takes text, and without quotes YAML takes yours for the number 0: put it in quotes",
            "--data.class_names takes text, and without quotes YAML takes yours for the truth value False",
        ],
        [],
    ),
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
    found = [f"exit statuses {statuses}, not {expected}"] if statuses != expected else []
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
