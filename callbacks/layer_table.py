"""The table of a model's layers, before training."""

from collections.abc import Mapping

import lightning.pytorch as pl
from lightning.pytorch.callbacks import RichModelSummary
from rich import get_console
from rich.table import Table

from common.lightning_seam import layers_of
from lightning_modules.model import Model

# columns of numbers
NUMBERS = ("Params", "FLOPs")
FOLDED = ("Name", "Type")


class LayerTable(RichModelSummary):
    """Show the layers, the shape of what each gives for an image, and how many parameters it has.

    Args:
        max_depth: how deep layers within layers are listed; 0 shows nothing, -1 all
    """

    def __init__(self, max_depth: int = 1) -> None:
        super().__init__(max_depth)
        self.depth = max_depth

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the table."""
        if not self.depth:
            return
        # on all processes: a strategy may have to gather the parameters
        layers = layers_of(self, trainer, pl_module)
        if not trainer.is_global_zero:
            return
        shapes = pl_module.output_shapes() if isinstance(pl_module, Model) else {}
        columns = {
            "Name": layers.layer_names,
            "Type": layers.layer_types,
            "Output": ["x".join(map(str, shapes.get(name, ()))) for name in layers.layer_names],
            "Params": [f"{count:,}" for count in layers.param_nums],
            "Mode": ["train" if training else "eval" for training in layers.training_modes],
        }
        if getattr(layers, "total_flops", 0):
            # Lightning counts them where a model has an example of its input
            columns["FLOPs"] = [f"{sum(counts.values()):,}" for counts in layers.flop_counts.values()]
        console, total, trained = get_console(), layers.total_parameters, layers.trainable_parameters
        console.print(layer_table({name: cells for name, cells in columns.items() if any(cells)}))
        frozen = f", {total - trained:,} of them frozen" if total > trained else ""
        console.print(f"{total:,} parameters{frozen}, {layers.model_size:.1f} MB", highlight=False)


def layer_table(columns: Mapping[str, list[str]]) -> Table:
    """Build the table of layers.

    Args:
        columns: cells by the name of the column
    """
    table = Table(header_style="bold magenta")
    for name in columns:
        # a narrow terminal folds names, and cuts no number
        table.add_column(
            name, justify="right" if name in NUMBERS else "left", no_wrap=name not in FOLDED, overflow="fold"
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table
