"""`python train.py predict --images`: classify files, however many they are, without the data of the training."""

import sys
import time
from argparse import ArgumentError
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, fields
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser
from rich.console import Console

from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.predict.options import PredictOptions

if TYPE_CHECKING:
    from pipelines.predict.predictor import Predictor
    from pipelines.predict.writers import Growing, StandardOutput

# seconds between two lines on how far it is
TOLD_EACH = 10.0
# files that cannot be read which are named
NAMED = 5
Decoded = Future[tuple[Any, str]]


def main(args: list[str]) -> int:
    """Run `python train.py predict --images`.

    Args:
        args: the command line after `predict`

    Returns:
        the exit status
    """
    options, places = parse(args)
    console = Console(stderr=options.out == "-")
    # slow to import, and not needed for help or a wrong option
    from lightning_modules.checkpoint_io import file_sha256
    from pipelines.predict.inputs import check_places, find_images
    from pipelines.predict.predictor import Predictor
    from pipelines.predict.rows import Rows
    from pipelines.predict.writers import Growing, StandardOutput
    from records import run_dir
    from records.locks import alone

    check_places(places)
    kind = options.written_as()
    if kind == "parquet" and find_spec("pyarrow") is None:
        raise ValueError(f"--out {options.out} needs the extra parquet: pip install 'francesinha[parquet]'")
    predictor = Predictor(options.ckpt_path, options.device, options.batch_size)
    rows, left_out = Rows(predictor.model, options), Counter[str]()
    if rows.no_sets:
        console.print(f"no prediction sets: {rows.no_sets}", soft_wrap=True, highlight=False, markup=False)
    images = find_images(places, left_out)
    with ExitStack() as held:
        writer: Growing | StandardOutput
        if options.out == "-":
            writer = StandardOutput(kind, rows.columns)
        else:
            run = run_dir.of_checkpoint(predictor.checkpoint)
            path = Path(options.out) if options.out else (run.predicted if run else Path("predicted.csv"))
            made_of = {**asdict(options), "images": places, "checkpoint": file_sha256(predictor.checkpoint)}
            writer = Growing(path, kind, rows.columns, made_of)
            lock = path.with_name(f".{path.name}.lock")
            held.enter_context(alone(lock, str(path), "written", "or name another by --out"))
            held.callback(lock.unlink, missing_ok=True)
        count, unread, seconds = predict_all(predictor, rows, images, writer, places, left_out, options.threads)
        if not count:
            raise FileNotFoundError(f"--images {' '.join(places)} holds no image")
        if len(unread) == count:
            raise ValueError(f"none of {count:,} files can be read: {unread[0]}")
        writer.finish()
    report(console, "standard output" if options.out == "-" else str(path), count, unread, seconds, left_out)
    return 0


def parse(args: list[str]) -> tuple[PredictOptions, list[str]]:
    """Read a command line.

    Args:
        args: after `predict`

    Returns:
        the options, and where the images are

    Raises:
        UsageError: it asks for what does not exist
    """
    parser = ArgumentParser(prog="train.py predict", description=__doc__, exit_on_error=False, allow_abbrev=False)
    parser.add_argument(
        "--images",
        # given twice, it takes the images of both
        action="extend",
        nargs="+",
        type=str,
        required=True,
        help="Files, folders at any depth, patterns such as 'photos/*.jpg', tables (.csv, .tsv, .parquet) with a "
        "column path, or - for a path a line on standard input.",
    )
    parser.add_class_arguments(PredictOptions)
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser, args)) from error
    return PredictOptions(**{field.name: parsed[field.name] for field in fields(PredictOptions)}), list(parsed.images)


def predict_all(
    predictor: "Predictor",
    rows: Any,
    images: Iterator[str],
    writer: "Growing | StandardOutput",
    places: Sequence[str],
    left_out: Counter[str],
    threads: int,
) -> tuple[int, list[str], float]:
    """Predict on all images; the next batch is decoded while one is computed.

    Args:
        predictor: the model
        rows: makes what is written
        images: paths
        writer: takes the rows
        places: where the images are, should they have to be looked for anew
        left_out: is added to: how often what was left out
        threads: that decode

    Returns:
        how many images there are, why some of those predicted on now could not be read, and seconds
    """
    from pipelines.predict.inputs import find_images

    done = writer.begun()
    before = deque(enumerate(islice(images, done), start=1), maxlen=1)
    skipped, last = before[0] if before else (0, "")
    if done and (skipped != done or last != writer.last):
        print("the images are others than those of the command that was stopped: all are predicted on", file=sys.stderr)
        writer.restart()
        left_out.clear()
        images = find_images(places, left_out)
    elif done:
        print(f"{done:,} images were predicted on before; going on after them", file=sys.stderr)
    unread: list[str] = []
    start = told = time.monotonic()
    with ThreadPoolExecutor(threads, "decode") as pool:
        try:
            for names, decoded in ahead(predictor, images, pool):
                found = [future.result() for future in decoded]
                readable = [picture for picture, error in found if not error]
                logits = predictor.logits_of(readable) if readable else None
                errors = [error for _, error in found]
                writer.add(rows.of(names, logits, errors))
                unread += [error for error in errors if error]
                if time.monotonic() - told > TOLD_EACH:
                    told = time.monotonic()
                    speed = (writer.rows - done) / (told - start)
                    print(f"{writer.rows:,} images, {speed:,.0f} a second", file=sys.stderr)
        except KeyboardInterrupt:
            print(f"\nstopped after {writer.rows:,} images; the same command goes on after them", file=sys.stderr)
            raise
    return writer.rows, unread, time.monotonic() - start


def ahead(
    predictor: "Predictor", images: Iterator[str], pool: ThreadPoolExecutor
) -> Iterator[tuple[list[str], list[Decoded]]]:
    """Yield batches of paths and of pictures being decoded, always one batch ahead."""

    def begin() -> tuple[list[str], list[Decoded]]:
        names = list(islice(images, predictor.batch_size))
        return names, [pool.submit(decoded, predictor, name) for name in names]

    batch = begin()
    while batch[0]:
        following = begin()
        yield batch
        batch = following


def decoded(predictor: "Predictor", name: str) -> tuple[Any, str]:
    """Decode a file; return its picture, or why it cannot be read."""
    try:
        return predictor.decode(name), ""
    except (OSError, ValueError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "it does not fit into memory"
        return None, reason if name in reason else f"{name} cannot be read ({reason})"


def report(
    console: Console, path: str, count: int, unread: Sequence[str], seconds: float, left_out: Counter[str]
) -> None:
    """Say what was written, and what could not be read."""
    from datamodules.files.found_files import describe_left_out

    line = f"{count:,} images, {count / max(seconds, 1e-9):,.0f} a second: {path}"
    console.print(line, soft_wrap=True, highlight=False, markup=False)
    if left := describe_left_out(count, left_out):
        console.print(left, soft_wrap=True, highlight=False, markup=False)
    if unread:
        told = "; ".join(unread[:NAMED])
        more = f"; and {len(unread) - NAMED:,} more" if len(unread) > NAMED else ""
        line = f"{len(unread):,} of them cannot be read (column error): {told}{more}"
        console.print(line, soft_wrap=True, highlight=False, markup=False)
