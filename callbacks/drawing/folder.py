"""Where figures go: files in the run's folder, and TensorBoard."""

from pathlib import Path
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from records.whole_file import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


class FigureFolder:
    """Write figures as PNG files, and to TensorBoard.

    Args:
        folder: of the files; None takes `figures` in the Trainer's root folder
        events: folder of TensorBoard's events where the Trainer has no TensorBoard logger, as at test; None writes none
        tensorboard: write to TensorBoard at all
    """

    def __init__(self, folder: Path | None = None, events: Path | None = None, tensorboard: bool = True) -> None:
        self.folder, self.events, self.tensorboard = folder, events, tensorboard
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
        # matplotlib is imported by now: there is a figure
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        from figures.style import DPI

        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        # once for both: savefig would draw it twice, and TensorBoard's add_figure once more
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]
        with write_whole(self.path(trainer, f"{name}.png")) as partial:
            Image.fromarray(pixels).save(partial, "png", compress_level=4, dpi=(DPI, DPI))
        writer = self.writer(trainer)
        if writer is not None:
            writer.add_image(name.replace("_", "/", 1), pixels, trainer.global_step, dataformats="HWC")
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
