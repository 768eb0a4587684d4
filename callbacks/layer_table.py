"""The table of a model's layers, before training."""

from typing import Any

from lightning.pytorch.callbacks import RichModelSummary
from rich import get_console
from rich.table import Table

# what Lightning counts only where a model has an example of its input
COUNTED = "FLOPs"


class LayerTable(RichModelSummary):
    """Show the layers and their parameters; Lightning's, without the operations that were not counted.

    Args:
        max_depth: how deep layers within layers are listed; 0 shows nothing, -1 all
    """

    def __init__(self, max_depth: int = 1) -> None:
        super().__init__(max_depth)

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        trainable_parameters: int,
        model_size: float,
        total_training_modes: dict[str, int],
        total_flops: int,
        **summarize_kwargs: Any,
    ) -> None:
        """Print the table."""
        columns = {name.strip(): values for name, values in summary_data if name != COUNTED or total_flops}
        table = Table(header_style="bold magenta")
        for name in columns:
            table.add_column(name, justify="right" if name in ("Params", COUNTED) else "left", no_wrap=True)
        for row in zip(*columns.values(), strict=True):
            table.add_row(*row)
        frozen = total_parameters - trainable_parameters
        said = f"{total_parameters:,} parameters" + (f", {frozen:,} of them frozen" if frozen else "")
        console = get_console()
        console.print(table)
        console.print(f"{said}, {model_size:.1f} MB", highlight=False)
