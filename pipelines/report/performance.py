"""performance.csv: a row for each run, to which several processes may append at once."""

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pipelines.cli.errors import UsageError
from pipelines.report.runs import FoundRun
from records.csv_files import read_rows, write_rows
from records.damaged_files import dict_at
from records.folders import make_folder, take_back
from records.locks import one_at_a_time
from records.whole_file import naming

COLUMNS = (
    "model_name",
    "num_params",
    "train_time_sec",
    "train_time",
    "timestamp",
    "accuracy",
    "precision",
    "recall",
    "f1",
    "support",
    "final_accuracy",
    "final_loss",
    "final_val_accuracy",
    "final_val_loss",
    "final_learning_rate",
    "epochs_trained",
    "test_loss",
    "framework",
)

SOLVER = "lr-_Solver"


def performance_row(run: FoundRun) -> dict[str, str]:
    """Put a run's result into the columns; what it does not say stays empty.

    Accuracy, precision, recall and F1 are those of the test split, the last three weighted by the support of each
    class; the final_* columns are those of the last epoch. `test_loss` is what the run minimised, such as a focal loss;
    `num_params` counts a stack's members and its head. A head that is solved at once has no learning rate.

    Args:
        run: as found
    """
    result = run.result
    fit, test = dict_at(result, "fit"), run.metrics("test")
    last = dict_at(fit, "last")
    seconds = fit.get("seconds")
    logged = run.logged()
    rates = [values[1][-1] for name, values in logged.items() if name.startswith("lr-")]
    # results of older runs do not hold the learning rate: the last one that was logged is taken
    rate = next((value for name, value in last.items() if name.startswith("lr-")), rates[0] if rates else None)
    # the step that solves a head is logged as an optimizer's
    solved = SOLVER in last or SOLVER in logged
    # `stack` measures the cross-entropy, which is a stack's loss, by its other name
    loss = test.get("nll") if dict_at(result, "stack") else None
    values: dict[str, Any] = {
        "model_name": f"{run.experiment}/{run.name}",
        "num_params": result.get("parameters"),
        "train_time_sec": seconds,
        "train_time": clock(float(seconds)) if isinstance(seconds, int | float) else None,
        "timestamp": fit.get("finished"),
        "accuracy": test.get("accuracy"),
        "precision": test.get("precision_weighted"),
        "recall": test.get("recall_weighted"),
        "f1": test.get("f1_weighted"),
        "support": dict_at(dict_at(result, "evaluations"), "test").get(
            "samples", dict_at(result, "samples").get("test")
        ),
        "final_accuracy": last.get("train/accuracy"),
        "final_loss": last.get("train/loss"),
        "final_val_accuracy": last.get("val/accuracy"),
        "final_val_loss": last.get("val/loss"),
        "final_learning_rate": None if solved else fit.get("learning_rate", rate),
        "epochs_trained": fit.get("epochs"),
        "test_loss": test.get("loss", loss),
        "framework": "PyTorch Lightning",
    }
    return {name: "" if value is None else str(value) for name, value in values.items()}


def clock(seconds: float) -> str:
    """Write a time as hours, minutes and seconds.

    Example:
        >>> clock(3725.4)
        '1:02:05'
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def append_rows(path: Path, rows: Iterable[dict[str, str]]) -> int:
    """Append rows that are not there already; other processes may do the same.

    Args:
        path: of the file; it is made if it is not there
        rows: of the columns

    Returns:
        how many were appended

    Raises:
        UsageError: the file has other columns; nothing is written
    """
    made, lock = make_folder(path.parent), path.with_name(f".{path.name}.lock")
    with one_at_a_time(lock):
        try:
            return _append(path, rows)
        except BaseException:
            take_back(made, lambda file: file == lock)
            raise


def _append(path: Path, rows: Iterable[dict[str, str]]) -> int:
    text = read_text(path) if path.is_file() else ""
    known = check_columns(path, text) if text.strip() else set()
    new = list(dict.fromkeys(tuple(row[name] for name in COLUMNS) for row in rows))
    new = [row for row in new if row not in known]
    written = io.StringIO()
    # a file that another program left without its last line's end
    written.write("" if not text or text.endswith("\n") else "\n")
    write_rows(written, [*([] if text.strip() else [COLUMNS]), *new])
    if new or not text.strip():
        with naming(path), path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
            file.write(written.getvalue())
            file.flush()
            os.fsync(file.fileno())
    return len(new)


def read_text(path: Path) -> str:
    """Read a file of rows, whatever its bytes.

    Raises:
        UsageError: it cannot be read
    """
    try:
        # read without changing line ends, because a name may hold one; a spreadsheet may have put a byte order mark
        # first
        return path.read_bytes().decode("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}): choose another file by --performance") from error


def check_columns(path: Path, text: str) -> set[tuple[str, ...]]:
    """Return the rows of a file whose columns are ours.

    Raises:
        UsageError: they are not
    """
    header: Sequence[str]
    header, *rows = list(read_rows(io.StringIO(text, newline=""))) or [[]]
    if tuple(header) != COLUMNS:
        raise UsageError(f"{path} has other columns than {', '.join(COLUMNS)}: choose another file by --performance")
    return {tuple(row) for row in rows}
