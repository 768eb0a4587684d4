"""A received file, checked: its checksum, and its probabilities of the images that came with it."""

from pathlib import Path

import numpy as np

from lightning_modules.checkpoint_io import file_sha256
from pipelines.export.exported import CARD, EXAMPLE, WAY_OUT
from pipelines.export.options import FILES
from pipelines.export.runners import open_file
from records.json_files import read_json
from records.tensor_files import read_tensors

# another machine's order of sums changes probabilities by less; int8 rounds at steps of its own
ROUNDING = {
    "onnx": 1e-4,
    "safetensors": 1e-4,
    "checkpoint": 1e-4,
    "onnx-int8": 1e-2,
    "litert": 1e-4,
    "litert-int8": 1e-2,
}


def verify(path: Path) -> str:
    """Check an exported file against the card beside it.

    Args:
        path: of the file

    Returns:
        what was checked

    Raises:
        FileNotFoundError: the file, or its card, is missing
        ValueError: it is not the file that was exported, or it gives other probabilities
    """
    card_path = path.parent / CARD
    for needed in (path, card_path):
        if not needed.is_file():
            raise FileNotFoundError(
                f"{needed} does not exist: --verify needs an exported file with its {CARD} beside it"
            )
    card = read_json(card_path, WAY_OUT)
    kind = next((kind for kind, row in card["formats"].items() if row["file"] == path.name), None)
    if kind is None:
        raise ValueError(
            f"{card_path} does not know {path.name}, but {', '.join(FILES[name] for name in card['formats'])}"
        )
    if file_sha256(path) != card["formats"][kind]["sha256"]:
        raise ValueError(f"{path} is not the file that was exported: its checksum differs from that in {card_path}")
    if kind not in ROUNDING:
        return f"{path}: its checksum is that of the card; it was not run, because a .pt2 may hold code"
    example, _ = read_tensors(path.parent / EXAMPLE, WAY_OUT)
    found = open_file(path, kind)(example["image"].numpy())
    expected = example["probability"].numpy()
    allowed = card["formats"][kind]["largest_difference"] + ROUNDING[kind]
    difference = float(np.abs(found - expected).max())
    if not difference <= allowed:
        raise ValueError(
            f"{path} gives other probabilities here: they differ by up to {difference:.2g} from those of torch, and at "
            f"its export by {card['formats'][kind]['largest_difference']:.2g}"
        )
    return (
        f"{path}: its checksum is that of the card, and its probabilities of {len(found)} images differ by up to "
        f"{difference:.1e} from those of torch"
    )
