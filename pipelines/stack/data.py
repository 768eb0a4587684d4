"""Whether a stack's data is what its cells were trained on, and whether the weights that they start from are known."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from common.few import few
from datamodules import DataModule
from datamodules.data_record import DataChangedError, options_of
from ensembling.leakage import LeakageError, unknown_images
from lightning_modules.checkpoints import read_checkpoint, refuse_lost_best
from lightning_modules.weights import read_weights
from pipelines.cells.cell import Cell
from pipelines.cells.job import CellFiles
from pipelines.cli.changed_data import changed_since
from pipelines.cli.configured_data import build_data
from pipelines.stack.plan import StackPlan


def refuse_changed_cells(folder: Path, cells: Sequence[Cell], data: DataModule, allow: bool) -> list[str]:
    """Refuse cells, finished or not, that were trained on other data than there is now.

    Args:
        folder: the experiment's
        cells: those that are planned; all draw from the same data
        data: today's, of one of them
        allow: use finished ones all the same; the results must then say so

    Returns:
        one sentence for each kind of change

    Raises:
        DataChangedError: some were; the message says what has changed, and names them
    """
    found: dict[str, list[str]] = {}
    unfinished = []
    for name, phrases in changed_cells(folder, cells, data):
        found.setdefault("; ".join(phrases), []).append(name)
        if not CellFiles(folder, name).has_result:
            unfinished.append(name)
    told = [f"{few(names)}: trained on data that has changed since: {phrases}" for phrases, names in found.items()]
    if not found or (allow and not unfinished):
        return told
    count = len(unfinished) if allow else sum(map(len, found.values()))
    allowed = "" if allow else ", or set the option allow_changed true and have every table say so"
    raise DataChangedError(
        f"{count} of {len(cells)} cells cannot be continued. {'. '.join(told[:2])}. Put the data back, train all "
        f"anew in another folder by --experiment OTHER or --fresh true, or these alone by deleting their folders in "
        f"{folder}/{allowed}"
    )


def changed_cells(folder: Path, cells: Sequence[Cell], data: DataModule) -> Iterator[tuple[str, list[str]]]:
    """Yield each cell that has a checkpoint of other data than today's, and what has changed.

    Args:
        folder: the experiment's
        cells: those that are planned; all draw from the same data
        data: today's, of one of them
    """
    # cells of one fold have the same splits
    drawn: dict[str, DataModule] = {}
    for cell in cells:
        path = CellFiles(folder, cell.name).run.weights
        if not path.is_file():
            continue
        checkpoint = read_checkpoint(refuse_lost_best(path), mapped=True)
        options = checkpoint.get("config", {}).get("data")
        own = build_data(options) if options is not None else data
        # read once for all
        own.share(data.dataset)
        own = drawn.setdefault(repr(options_of(own)), own)
        if phrases := changed_since(checkpoint, path, own, same=True):
            yield cell.name, phrases


def refuse_unknown_weights(plan: StackPlan, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse, before any training, members that start from weights whose training samples are unknown.

    Args:
        plan: the plan
        settings: of each cell, flat, by the cells' names

    Raises:
        LeakageError: some do
    """
    if plan.allow_unknown or plan.allow_leakage:
        return
    files: dict[str, list[str]] = {}
    for cell in plan.cells:
        path = settings[cell.name].get("model.weights")
        # a missing file is reported by its cell
        if path and Path(path).is_file() and cell.member not in files.setdefault(path, []):
            files[path].append(cell.member)
    unknown = {path: members for path, members in files.items() if read_weights(Path(path)).provenance.unknown}
    if unknown:
        told = "; ".join(f"{few(members)} would be {unknown_images([path])}" for path, members in unknown.items())
        raise LeakageError(
            f"{told}: the samples of the stack may be among them. Start from weights that say what they were fitted "
            f"on, such as a checkpoint of this project, or set the option allow_unknown true and have every table say "
            f"so"
        )
