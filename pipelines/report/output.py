"""The report's folder: replaced if it is a report, and never anything else."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.cli.errors import UsageError
from records.fields import check_fields
from records.folders import make_folder, take_back
from records.json_files import read_json
from records.locks import one_at_a_time
from records.result_files import write_json
from records.whole_file import write_whole

PAGE, MANIFEST, LOCK = "index.html", "report.json", ".report.lock"
MADE_BY = "python train.py report"


def check_out(out: Path) -> list[str]:
    """Refuse a folder in which something else lies.

    Args:
        out: where the report goes

    Returns:
        the files of the report that is there, by their paths in the folder

    Raises:
        UsageError: it is a file, or a folder that holds something but no report
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file: choose a folder by --out")
    if not out.is_dir() or all(path.name == LOCK for path in out.iterdir()):
        return []
    try:
        content = read_json(out / MANIFEST, "remove this earlier report, or choose another folder by --out")
        if content.get("made_by") == MADE_BY:
            check_fields(content, {"files": [str]}, out / MANIFEST, "choose another folder by --out")
            return list(content["files"])
    except FileNotFoundError:
        # nothing says what these files are
        pass
    raise UsageError(f"{out}/ holds something that is not a report: choose another folder by --out")


def write_report(out: Path, files: Mapping[str, bytes]) -> None:
    """Write a report, and remove those files of an earlier one that it does not have.

    Args:
        out: the folder; see `check_out`
        files: contents by their paths in the folder

    Raises:
        UsageError: there is a file in the way that no report has made
    """
    made = make_folder(out)
    # two at once: the page of one with the pictures of the other
    with one_at_a_time(out / LOCK):
        try:
            _replace(out, files, check_out(out))
        except BaseException:
            take_back(made, lambda path: path.name == LOCK)
            raise


def _replace(out: Path, files: Mapping[str, bytes], earlier: Sequence[str]) -> None:
    for name in files:
        if (out / name).exists() and name not in earlier:
            raise UsageError(f"{out / name} is in the way: move it, or choose another folder by --out")
    # the manifest comes first, so that files of an interrupted report are known as ours
    write_json(out / MANIFEST, {"made_by": MADE_BY, "files": sorted({*earlier, *files})})
    for name, content in files.items():
        with write_whole(out / name) as partial:
            partial.write_bytes(content)
    for name in set(earlier) - set(files):
        path = out / name
        if path.resolve().is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)
    write_json(out / MANIFEST, {"made_by": MADE_BY, "files": sorted(files)})
