"""`python train.py export`: a trained classifier or a whole stack as a file for another runtime."""

import shutil
import tempfile
from argparse import ArgumentError
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import ZIP_DEFLATED, ZipFile

from jsonargparse import ArgumentParser
from rich.console import Console

from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.export.options import FILES, ExportOptions, Format

if TYPE_CHECKING:
    from pipelines.export.exported import Exported

# formats in int8, and in single precision what they are made of
REDUCED: dict[Format, Format] = {"onnx-int8": "onnx", "litert-int8": "litert"}


def main(args: list[str]) -> int:
    """Run `python train.py export`.

    Args:
        args: the command line after `export`

    Returns:
        the exit status
    """
    options, console = parse(args), Console()
    # slow to import, and not needed for help or a wrong option
    from pipelines.export import litert_files, onnx_files

    for prefix, files in (("onnx", onnx_files), ("litert", litert_files)):
        if any(name.startswith(prefix) for name in options.formats) and options.verify is None:
            files.check_installed()
    if options.verify is not None:
        from pipelines.export.verify import verify

        console.print(verify(Path(options.verify)), soft_wrap=True, highlight=False, markup=False)
        return 0
    from pipelines.export.card import print_card, write_card
    from pipelines.export.exported import Exported

    exported = Exported.of(options)
    for note in exported.notes:
        console.print(f"note: {note}", soft_wrap=True, highlight=False, markup=False)
    exported.folder.mkdir(parents=True, exist_ok=True)
    refused = ""
    for kind in options.formats:
        refused = export(exported, kind) or refused
    card = write_card(exported)
    print_card(console, exported, card)
    if options.share:
        console.print(f"to share: {zipped(exported.folder)}", soft_wrap=True, highlight=False, markup=False)
    if refused:
        raise UsageError(refused)
    return 0


def zipped(folder: Path) -> Path:
    """Put the files of an export into one .zip beside their folder; an earlier one is kept under a number."""
    from records.result_files import keep_earlier
    from records.whole_file import write_whole

    path = folder.with_name(f"{folder.name}.zip")
    keep_earlier(path)
    with write_whole(path) as partial, ZipFile(partial, "w", ZIP_DEFLATED) as archive:
        for file in sorted(folder.iterdir()):
            if file.is_file() and not file.name.startswith("."):
                archive.write(file, f"{folder.name}/{file.name}")
    return path


def parse(args: list[str]) -> ExportOptions:
    """Read a command line.

    Args:
        args: after `export`

    Raises:
        UsageError: it asks for what does not exist
    """
    parser = ArgumentParser(prog="train.py export", description=__doc__, exit_on_error=False, allow_abbrev=False)
    parser.add_class_arguments(ExportOptions)
    try:
        parsed = parser.parse_args(args)
    except ArgumentError as error:
        raise UsageError(explain_parsing(str(error), parser, args)) from error
    return ExportOptions(**{field.name: parsed[field.name] for field in fields(ExportOptions)})


def export(exported: "Exported", kind: Format) -> str:
    """Write one format, and measure it.

    Args:
        exported: of what
        kind: the format

    Returns:
        why it was refused; empty if it was not
    """
    from pipelines.export import weights
    from records.result_files import write_json

    if kind in REDUCED:
        with tempfile.TemporaryDirectory() as folder:
            small = Path(folder) / FILES[kind]
            write_int8(exported, kind, small)
            if refused := exported.drop(small, kind):
                return refused
            with exported.file(kind) as path:
                shutil.copyfile(small, path)
    elif kind in REDUCED.values():
        with exported.file(kind) as path:
            write_whole_precision(exported, kind, path)
    elif kind == "torch-export":
        with exported.file(kind) as path:
            weights.write_program(exported.module, exported.example, path)
    elif kind == "checkpoint":
        with exported.file(kind) as path:
            weights.write_checkpoint(exported.checkpoint, path)
    else:
        write_json((exported.folder / FILES[kind]).with_suffix(".json"), exported.module.model.architecture())
        with exported.file(kind) as path:
            weights.write_weights(exported.module, path)
    exported.measure(kind)
    return ""


def write_whole_precision(exported: "Exported", kind: Format, path: Path) -> None:
    """Write a graph in single precision."""
    from pipelines.export import litert_files, onnx_files

    if kind == "onnx":
        onnx_files.write_onnx(exported.module, exported.example, path, exported.facts)
    else:
        litert_files.write_litert(exported.module, exported.example, path)


def write_int8(exported: "Exported", kind: Format, path: Path) -> None:
    """Write a graph in int8, from the one in single precision, which is written beside it if it was not exported."""
    from pipelines.export import litert_files, onnx_files

    whole = REDUCED[kind]
    source = exported.folder / FILES[whole]
    if whole not in exported.rows:
        source = path.parent / FILES[whole]
        write_whole_precision(exported, whole, source)
    if kind == "onnx-int8":
        onnx_files.write_int8(source, exported.calibration(kind), path, exported.facts)
    else:
        litert_files.write_int8(source, exported.calibration(kind), path)
