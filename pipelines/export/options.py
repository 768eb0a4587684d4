"""Options of `python train.py export`."""

from dataclasses import dataclass
from typing import Literal, get_args

from common.ranges import check_range

Format = Literal["onnx", "onnx-int8", "litert", "litert-int8", "torch-export", "safetensors", "checkpoint"]
FORMATS: tuple[Format, ...] = get_args(Format)
# the file of each format, in the folder of the export
FILES: dict[Format, str] = {
    "onnx": "model.onnx",
    "onnx-int8": "model_int8.onnx",
    "litert": "model.tflite",
    "litert-int8": "model_int8.tflite",
    "torch-export": "model.pt2",
    "safetensors": "model.safetensors",
    "checkpoint": "model.ckpt",
}
RANGES = {"max_drop": "[0, 100]", "calibration_images": "[1, inf)"}


@dataclass
class ExportOptions:
    """What to export, and what to check.

    Args:
        ckpt_path: a run's folder, a checkpoint, or a stack's folder
        format: onnx, onnx-int8, litert and litert-int8 (.tflite, in the environment of `make litert`), torch-export
            (.pt2), safetensors (the weights alone), checkpoint (for this project, without what only training needs); a
            list for several
        out: folder of the files and their card; null takes `export` in the run's folder
        max_drop: points of accuracy on the validation split that int8 may lose; more is refused
        calibration_images: training images from which int8 takes its ranges of values
        accuracy: measure the accuracy of each format on the test split
        latency: measure how long each format takes for 1 and for 32 images
        c_header: write each .tflite as an array in C, too, as a project for a microcontroller includes it
        license: of the weights, for the card; null says that none was given
        share: put all files of the folder into one .zip beside it
        verify: an exported file to check, in place of exporting: its checksum, and its probabilities of the images that
            lie beside it
    """

    ckpt_path: str | None = None
    format: Format | list[Format] = "onnx"
    out: str | None = None
    max_drop: float = 1.0
    calibration_images: int = 256
    accuracy: bool = True
    latency: bool = True
    c_header: bool = False
    license: str | None = None
    share: bool = False
    verify: str | None = None

    def __post_init__(self) -> None:
        for name, interval in RANGES.items():
            check_range(f"--{name}", getattr(self, name), interval)
        if (self.ckpt_path is None) == (self.verify is None):
            raise ValueError("export needs --ckpt_path (what to export) or --verify (a file to check), and not both")
        if not self.formats:
            raise ValueError(f"--format must name one of {', '.join(FORMATS)}")

    @property
    def formats(self) -> list[Format]:
        """The formats, each once; a file of weights or ONNX comes before what is made of it."""
        asked = [self.format] if isinstance(self.format, str) else self.format
        return [name for name in FORMATS if name in asked]
