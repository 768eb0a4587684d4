"""Exported: a model on its way out, with the images that its files are checked on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from common import class_paths
from datamodules.base import DataModule
from lightning_modules.checkpoint_io import file_sha256
from lightning_modules.checkpoints import find_model, load_classifier, read_checkpoint
from pipelines.cli.configured_data import build_data
from pipelines.cli.named_checkpoint import trained_with
from pipelines.export import litert_files, measures
from pipelines.export.graph import Probabilities, frozen, random_images
from pipelines.export.options import FILES, ExportOptions, Format
from pipelines.export.runners import Runner, of_module, open_file
from records import run_dir
from records.json_files import read_json
from records.result_files import keep_earlier
from records.versions import versions
from records.whole_file import write_whole

# what an export says of itself, for programs and for people; and the images that a receiver checks a file on
CARD, CARD_TEXT, EXAMPLE = "export.json", "card.md", "example.safetensors"
WAY_OUT = "export the model again"
# images beside the files
EXAMPLES = sum(measures.PARITY_BATCHES)


@dataclass
class Exported:
    """A model, the files that were made of it, and what was measured of them.

    Args:
        options: of the command
        checkpoint: where the model comes from
        sha256: of the checkpoint
        folder: of the files
        module: from images to probabilities
        data: that the model was trained on; None where it is not there
        images: uint8, shape `(image, channel, height, width)`: real ones where the data is there, else noise
        notes: what could not be measured, and why
        rows: of each format exported now, what was measured
        earlier: the same of formats that were exported before
    """

    options: ExportOptions
    checkpoint: Path
    sha256: str
    folder: Path
    module: Probabilities
    data: DataModule | None
    images: Tensor
    notes: list[str] = field(default_factory=list)
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    earlier: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, options: ExportOptions) -> Self:
        """Load the model, and its data where that is there."""
        checkpoint = find_model(Path(str(options.ckpt_path)))
        model = load_classifier(checkpoint)
        if model.read != ["image"]:
            raise ValueError(f"{checkpoint} reads a table: models on images alone are exported")
        module = frozen(model)
        run = run_dir.of_checkpoint(checkpoint)
        folder = Path(options.out) if options.out else (run.folder if run else checkpoint.parent) / "export"
        data, notes = _data_of(checkpoint)
        images = random_images(module.model, EXAMPLES)
        part = None if data is None else next((s for s in ("val", "test", "train") if len(data.samples(s))), None)
        if data is not None and part is not None:
            samples = data.samples(part)
            images = torch.from_numpy(measures.images_of(samples, torch.arange(EXAMPLES) % len(samples)))
        found = cls(options, checkpoint, file_sha256(checkpoint), folder, module, data, images, notes)
        if (folder / CARD).is_file():
            card = read_json(folder / CARD, WAY_OUT)
            if card.get("checkpoint_sha256") == found.sha256:
                rows = card["formats"].items()
                found.earlier = {kind: row for kind, row in rows if (folder / row["file"]).is_file()}
        return found

    @property
    def example(self) -> Tensor:
        """Two images, from which exporters learn the form of a batch."""
        return self.images[:2]

    @property
    def facts(self) -> dict[str, Any]:
        """What a file says of the model, as plain Python types."""
        info = self.module.model.info
        return {
            "classes": list(info.class_names),
            "input": {
                "name": "image",
                "dtype": "uint8",
                "shape": ["batch", info.in_channels, *info.image_size],
                "color": "RGB" if info.in_channels == 3 else "grey",
                "value_range": info.value_range or "full",
                "fit": "turn upright, scale the shorter side, cut the centre; resizing and normalisation are inside",
            },
            "model": type(self.module.model).__name__,
            "checkpoint_sha256": self.sha256,
            "versions": versions(),
            "license": self.options.license,
        }

    @contextmanager
    def file(self, kind: Format) -> Iterator[Path]:
        """Yield where to write a format; it takes its place once it is whole.

        An earlier export of the model is replaced. A file that is none is kept under a number.
        """
        path = self.folder / FILES[kind]
        known = self.earlier.get(kind, {}).get("sha256")
        if path.is_file() and file_sha256(path) != known:
            keep_earlier(path)
        with write_whole(path) as partial:
            yield partial

    def calibration(self, kind: Format) -> Tensor:
        """Return training images for int8, evenly spread.

        Raises:
            ValueError: the data is not there
        """
        if self.data is None:
            raise ValueError(f"--format {kind} needs training images, and {self.notes[0]}")
        samples = self.data.samples("train")
        count = min(self.options.calibration_images, len(samples))
        rows = torch.linspace(0, len(samples) - 1, count).long()
        return torch.from_numpy(measures.images_of(samples, rows))

    def drop(self, path: Path, kind: Format) -> str:
        """Compare the accuracy of a file in int8 with that of torch; return why it is refused, or nothing."""
        assert self.data is not None
        split = "val" if len(self.data.samples("val")) else "test"
        samples = self.data.samples(split)
        if not len(samples):
            return f"{kind} is refused: there are neither validation nor test images to measure its accuracy on"
        whole = measures.accuracy(of_module(self.module), samples)
        reduced = measures.accuracy(open_file(path, kind), samples)
        lost = 100 * (whole - reduced)
        if lost <= self.options.max_drop:
            return ""
        return (
            f"{kind} is refused: its accuracy on {split} is {reduced:.4f}, {lost:.1f} points below {whole:.4f}: "
            f"allow it by --max_drop {lost + 0.1:.1f}, or give it more images by --calibration_images"
        )

    def measure(self, kind: Format) -> None:
        """Measure a file that was written."""
        path = self.folder / FILES[kind]
        run = open_file(path, kind)
        images = self.images.numpy()
        row = {"file": path.name, "sha256": file_sha256(path), **measures.sizes(path)}
        if kind.startswith("litert"):
            row["litert"] = facts = litert_files.details(path)
            if self.options.c_header:
                with write_whole(path.with_suffix(".h")) as partial:
                    litert_files.write_header(path, partial, facts)
        row |= measures.parity(of_module(self.module), run, images)
        if (accuracy := self.accuracy(run)) is not None:
            row["test_accuracy"] = accuracy
        self.rows[kind] = row

    def accuracy(self, run: Runner) -> float | None:
        """Measure the accuracy on the test split, where there is one and it is asked for."""
        if not self.options.accuracy or self.data is None:
            return None
        samples = self.data.samples("test")
        return measures.accuracy(run, samples) if len(samples) else None

    def card(self) -> dict[str, Any]:
        """Return all that is known of the export, as plain Python types."""
        images = self.images.numpy()
        torch_row: dict[str, Any] = {"file": self.checkpoint.name, **measures.sizes(self.checkpoint)}
        if (accuracy := self.accuracy(of_module(self.module))) is not None:
            torch_row["test_accuracy"] = accuracy
        formats = {**self.earlier, **self.rows}
        if self.options.latency:
            kinds: list[Format] = [kind for kind in FILES if kind in formats]
            runners = {"torch": of_module(self.module)}
            runners |= {kind: open_file(self.folder / FILES[kind], kind) for kind in kinds}
            times = measures.latencies(runners, np.ascontiguousarray(images))
            torch_row |= times.pop("torch")
            formats = {kind: {**row, **times.get(kind, {})} for kind, row in formats.items()}
        return {
            **self.facts,
            "parameters": sum(parameter.numel() for parameter in self.module.parameters()),
            "macs": measures.macs(self.module, images),
            "images": "noise" if self.data is None else "real",
            "torch": torch_row,
            "formats": formats,
            "notes": self.notes,
        }


def _data_of(checkpoint: Path) -> tuple[DataModule | None, list[str]]:
    """Build the data that a checkpoint names; without it, return why it is not there."""
    section = trained_with(read_checkpoint(checkpoint, mapped=True), checkpoint).get("data")
    if section is None:
        return None, ["the checkpoint does not name its data: no accuracy was measured"]
    class_paths.judge_all(section, str(checkpoint))
    try:
        data = build_data(section)
        len(data.samples("train"))
    except (OSError, ValueError) as error:
        return None, [f"the data that the model was trained on cannot be read, so no accuracy was measured ({error})"]
    return data, []
