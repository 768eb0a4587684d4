"""Files of predictions that grow, survive a stop and go on from there, and take their place once they are whole."""

import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from pipelines.predict.options import Format
from records.csv_files import write_rows
from records.result_files import keep_earlier
from records.whole_file import write_whole

# rows that become a part of a parquet file
CHUNK = 4096


class Growing:
    """A file of predictions that is being written, beside what is needed to go on with it.

    Args:
        path: of the file once it is whole
        kind: its format
        columns: names of its columns
        made_of: what a file that is gone on with must have been made of: the model and the options
    """

    def __init__(self, path: Path, kind: Format, columns: Sequence[str], made_of: dict[str, Any]) -> None:
        self.path, self.kind, self.columns, self.made_of = path, kind, list(columns), made_of
        self.partial = path.with_name(f"{path.name}.partial")
        self.state = path.with_name(f"{path.name}.partial.json")
        self.rows, self.last = 0, ""
        path.parent.mkdir(parents=True, exist_ok=True)

    def begun(self) -> int:
        """Open the file; return how many rows an earlier command has left that was made of the same."""
        state = self._read_state()
        self.file = self.partial.open("r+b" if state else "wb")
        if state:
            self.file.truncate(state["bytes"])
            self.file.seek(state["bytes"])
            self.rows, self.last = state["rows"], state["last"]
        elif self.kind == "csv":
            self._write(as_csv([self.columns]))
        return self.rows

    def restart(self) -> None:
        """Forget the rows of an earlier command."""
        self.file.close()
        self.state.unlink(missing_ok=True)
        self.rows, self.last = 0, ""
        self.begun()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Append rows; a stop after this loses none of them."""
        self._write(
            as_csv([row.get(name) for name in self.columns] for row in rows) if self.kind == "csv" else as_lines(rows)
        )
        self.rows, self.last = self.rows + len(rows), rows[-1]["name"]
        with write_whole(self.state) as partial:
            content = {"bytes": self.file.tell(), "rows": self.rows, "last": self.last, "made_of": self.made_of}
            partial.write_text(json.dumps(content), encoding="utf-8", errors="surrogatepass")

    def finish(self) -> None:
        """Put the file into its place."""
        os.fsync(self.file.fileno())
        self.file.close()
        if self.kind == "parquet":
            with write_whole(self.path) as partial:
                write_parquet(self.partial, partial, self.columns)
            self.partial.unlink()
        else:
            keep_earlier(self.path)
            self.partial.replace(self.path)
        self.state.unlink(missing_ok=True)

    def _write(self, content: bytes) -> None:
        self.file.write(content)
        self.file.flush()

    def _read_state(self) -> dict[str, Any]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            # a damaged one is none: the images are predicted on anew
            state = json.loads(self.state.read_text(encoding="utf-8", errors="surrogatepass"))
            if state["made_of"] == self.made_of and self.partial.stat().st_size >= state["bytes"]:
                return {name: state[name] for name in ("bytes", "rows", "last")}
        return {}


class StandardOutput:
    """Predictions on standard output.

    Args:
        kind: csv or jsonl
        columns: names of the columns
    """

    def __init__(self, kind: Format, columns: Sequence[str]) -> None:
        self.kind, self.columns, self.rows, self.last = kind, list(columns), 0, ""

    def begun(self) -> int:
        """Write the header; nothing can be gone on with."""
        if self.kind == "csv":
            self._write(as_csv([self.columns]))
        return 0

    def restart(self) -> None:
        """There is nothing to forget."""

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows."""
        self._write(
            as_csv([row.get(name) for name in self.columns] for row in rows) if self.kind == "csv" else as_lines(rows)
        )
        self.rows += len(rows)

    def finish(self) -> None:
        """Hand on what is left."""
        sys.stdout.flush()

    def _write(self, content: bytes) -> None:
        sys.stdout.write(content.decode("utf-8", "surrogateescape"))


def as_csv(rows: Any) -> bytes:
    """Write rows of cells."""
    text = io.StringIO(newline="")
    write_rows(text, rows)
    return text.getvalue().encode("utf-8", "surrogateescape")


def as_lines(rows: Sequence[dict[str, Any]]) -> bytes:
    """Write an object a line; empty errors are left out."""
    kept = ({name: value for name, value in row.items() if name != "error" or value} for row in rows)
    return "".join(json.dumps(row) + "\n" for row in kept).encode("ascii")


def write_parquet(lines: Path, path: Path, columns: Sequence[str]) -> None:
    """Turn lines of objects into a parquet file, some thousand at a time.

    Args:
        lines: an object a line
        path: of the parquet file
        columns: names of its columns
    """
    import pyarrow
    import pyarrow.parquet

    numbers = [name for name in columns if name.startswith(("probability", "p("))]
    schema = pyarrow.schema([(name, pyarrow.float64() if name in numbers else pyarrow.string()) for name in columns])
    with lines.open(encoding="utf-8") as file, pyarrow.parquet.ParquetWriter(path, schema) as writer:
        for chunk in _chunks(file):
            writer.write_table(
                pyarrow.Table.from_pylist([_encodable(json.loads(line)) for line in chunk], schema=schema)
            )


def _chunks(lines: Any) -> Iterator[list[str]]:
    while chunk := list(islice(lines, CHUNK)):
        yield chunk


def _encodable(row: dict[str, Any]) -> dict[str, Any]:
    # parquet holds UTF-8 alone, and a path may hold other bytes
    return row | {"name": row["name"].encode("utf-8", "backslashreplace").decode()}
