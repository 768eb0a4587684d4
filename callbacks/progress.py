"""The rich progress bar, refreshed a few times a second."""

from lightning.pytorch.callbacks import RichProgressBar


class ProgressBar(RichProgressBar):
    """Show progress, speed and validation accuracy.

    Args:
        refresh_rate: refreshes a second; 0 shows nothing
        leave: keep the bar of every epoch on the screen
    """

    def __init__(self, refresh_rate: int = 4, leave: bool = False) -> None:
        super().__init__(refresh_rate=refresh_rate, leave=leave)
