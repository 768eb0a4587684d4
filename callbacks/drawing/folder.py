"""Where figures go: files in the run's folder, and TensorBoard."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray

from records.whole_file import naming, write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


Format = Literal["png", "pdf", "svg"]
# dots an inch, unless an option says otherwise; `figures.style` has the same, and is slow to import
DPI = 120


def write_figure(figure: "Figure", path: Path, dpi: int = DPI) -> NDArray[np.uint8]:
    """Write a figure whole, in the format that the suffix of its file names.

    Args:
        figure: what to write
        path: of the file
        dpi: dots an inch

    Returns:
        its pixels, shape `(height, width, 3)`
    """
    # matplotlib is imported by now: there is a figure
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    # once for both: savefig would draw it twice, and TensorBoard's add_figure once more
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[..., :3]
    kind = path.suffix.removeprefix(".")
    with write_whole(path) as partial:
        if kind == "png":
            Image.fromarray(pixels).save(partial, "png", compress_level=4, dpi=(dpi, dpi))
        else:
            figure.savefig(partial, format=kind, dpi=dpi)
    return pixels


class FigureFolder:
    """Write figures as files, and to TensorBoard.

    Args:
        folder: of the files; None takes `figures` in the Trainer's root folder
        events: folder of TensorBoard's events where the Trainer has no TensorBoard logger, as at test; None writes none
        tensorboard: write to TensorBoard at all
        dpi: dots an inch of the files
        format: of the files
    """

    def __init__(
        self,
        folder: Path | None = None,
        events: Path | None = None,
        tensorboard: bool = True,
        dpi: int = DPI,
        format: Format = "png",  # noqa: A002 (the option's name)
    ) -> None:
        self.folder, self.events, self.tensorboard = folder, events, tensorboard
        self.dpi, self.format = dpi, format
        self._writer: SummaryWriter | None = None

    def path(self, trainer: pl.Trainer, name: str) -> Path:
        """Return the path of a file in the folder, which is made if need be."""
        folder = self.folder or Path(trainer.default_root_dir) / "figures"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def save(self, trainer: pl.Trainer, name: str, figure: "Figure") -> None:
        """Write one figure.

        Args:
            trainer: that draws it
            name: such as test_confusion_matrix; TensorBoard shows it as test/confusion_matrix
            figure: what to write
        """
        writer = self.writer(trainer)
        pixels = write_figure(figure, self.path(trainer, f"{name}.{self.format}"), self.dpi)
        if writer is not None:
            # at the step of the checkpoint: a test takes no steps
            step = trainer.global_step or getattr(trainer.lightning_module, "trained_steps", 0)
            with naming(Path(writer.log_dir) / "events.out.tfevents"):
                writer.add_image(name.replace("_", "/", 1), pixels, step, dataformats="HWC")
                writer.flush()

    def writer(self, trainer: pl.Trainer) -> "SummaryWriter | None":
        """Return the writer of TensorBoard's events; None if there is none."""
        if not self.tensorboard:
            return None
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                return logger.experiment
        if self._writer is None and self.events is not None:
            # slow to import
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self.events), filename_suffix=".figures")
        return self._writer
