"""`make results`: run what is cheap, read the records of all else, and make docs/results.md of them.

python -m benchmarks.claims                 run the cheap commands, make the page, say what is wrong or stale
python -m benchmarks.claims --page          make the page alone
python -m benchmarks.claims --run NAME ...  run the commands of these records, then make the page
python -m benchmarks.claims --stamp NAME    write machine, commit and date into a record with figures entered by hand
python -m benchmarks.claims --stale         say what was not run, and what has changed since it was
"""

import argparse
import html
import re
import sys
from pathlib import Path

from benchmarks.claims.measured import not_held
from benchmarks.claims.page import PAGE, page_now
from benchmarks.claims.record import REPOSITORY, RecordError, load_records
from benchmarks.claims.runs import run, stale, stamp


def pages() -> list[Path]:
    """README and all of docs/."""
    return [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def drawn(picture: Path) -> str:
    """A picture's text as a page that links the record of the picture's name."""
    text = html.unescape(re.sub(r"<style.*?</style>|<[^>]*>", "", picture.read_text("utf-8"), flags=re.DOTALL))
    return f"[record](records/{picture.stem}.json)\n```\n{text}\n```\n"


def unheld() -> list[str]:
    """Each measured number of README and docs, pictures with text too, that no record holds, as `FILE: message`."""
    held = {name: record.held() for name, record in load_records().items()}
    texts = {page: page.read_text("utf-8") for page in pages()}
    texts |= {picture: drawn(picture) for picture in sorted((REPOSITORY / "docs").glob("*.svg"))}
    return [
        f"{file.relative_to(REPOSITORY)}: {message}" for file, text in texts.items() for message in not_held(text, held)
    ]


def main() -> int:
    """Run the command line; return 1 where a number of the docs is held by no record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--page", action="store_true")
    kinds.add_argument("--run", nargs="+", metavar="NAME")
    kinds.add_argument("--stamp", nargs="+", metavar="NAME")
    kinds.add_argument("--stale", action="store_true")
    options = parser.parse_args()
    try:
        for name in options.stamp or []:
            stamp(name)
        again = options.run or []
        if not (options.page or options.run or options.stamp or options.stale):
            again = [name for name, record in load_records().items() if record.cheap]
        for name in again:
            print(f"{name} ...", flush=True)
            run(name)
        records = load_records()
        if not options.stale:
            PAGE.write_text(page_now(records), "utf-8")
            print(f"{PAGE.relative_to(REPOSITORY)}: made of {len(records)} records")
        if not (options.page or options.stamp):
            print("\n".join(stale(records)))
        wrong = unheld()
    except RecordError as error:
        sys.exit(str(error))
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
