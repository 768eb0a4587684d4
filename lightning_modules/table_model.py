"""TableModel: what models of tables share: inputs, hidden layers, and the refusal of rows that they cannot read."""

from dataclasses import field, replace
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from common.few import count_of, few
from common.options import configurable
from datamodules.base import DataModule
from datamodules.names import shown
from datamodules.samples import Samples
from datamodules.table_info import TableInfo
from lightning_modules.coefficients import coefficients
from lightning_modules.shapes import layer_shapes
from lightning_modules.table_inputs import TableInputs
from lightning_modules.trained_model import TrainedModel
from lightning_modules.training.parameter_groups import Rate

# precisions of the Trainer in which a batch itself is rounded
ROUNDING = ("16-true", "bf16-true", "transformer-engine", "transformer-engine-float16")


@configurable
class TableModel(TrainedModel):
    """A linear model of a table's columns, or an MLP.

    Args:
        hidden: width of each hidden layer, with ReLU; none is linear
        dropout: share of activations dropped after each hidden layer, in [0, 1)
        unseen: what becomes of rows with a category that the training split did not hold: error, or zero (none of those
            that it held)
    """

    hidden: list[int] = field(default_factory=list)
    dropout: float = 0.0
    unseen: Literal["error", "zero"] = "error"

    reads: ClassVar[str] = "table"
    ranges: ClassVar[dict[str, str]] = {**TrainedModel.ranges, "hidden": "[1, inf)", "dropout": "[0, 1)"}

    def check_options(self) -> None:
        """Refuse data without a table, and options that are out of their ranges."""
        super().check_options()
        if self.info.table is None:
            raise ValueError(
                f"--model {type(self).__name__} needs columns: --data TableData, or a Manifest with --data.features"
            )

    @property
    def table(self) -> TableInfo:
        """The columns that it reads."""
        assert self.info.table is not None
        return self.info.table

    def build(self) -> None:
        """Build inputs, hidden layers and head."""
        self.inputs = TableInputs(self.table)
        layers: list[nn.Module] = []
        width = self.inputs.dim
        for following in self.hidden:
            layers += [nn.Linear(width, following), nn.ReLU(), nn.Dropout(self.dropout)]
            width = following
        self.backbone = nn.Sequential(*layers)
        self.head = nn.Linear(width, self.info.num_classes)

    def features(self, rows: Tensor) -> Tensor:
        """Compute what the head sees of rows `(batch, column)`, shape `(batch, dim)`."""
        return self.backbone(self.inputs(rows).to(self.head.weight.dtype))

    def forward(self, rows: Tensor) -> Tensor:
        """Compute outputs `(batch, output)` of rows `(batch, column)`, float64."""
        return self.head(self.features(rows))

    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of one row's output by the name of each layer."""
        dim = (self.inputs.dim,)
        hidden = layer_shapes(self.backbone, dim)
        found = {f"backbone.{name}".rstrip("."): shape for name, shape in hidden.items()}
        return {"inputs": dim, **found, "head": (self.info.num_classes,)}

    @property
    def result_facts(self) -> dict[str, Any]:
        """The coefficients of a linear model, in the units of its columns."""
        if self.hidden:
            return super().result_facts
        found = coefficients(self.head.weight, self.head.bias, self.table, self.info.class_names)
        return {**super().result_facts, "coefficients": found}

    def learning_rates(self) -> dict[nn.Parameter, Rate]:
        """Let all parameters learn at the optimizer's rate."""
        return dict.fromkeys([*self.backbone.parameters(), *self.head.parameters()], ("model", 1.0))

    # rows

    def setup(self, stage: str) -> None:
        """Refuse rows that it cannot read, and let the loaders serve columns where the data has images beside them."""
        if self.trainer.strategy.root_device.type == "mps":
            raise ValueError("tables are read in double precision, which mps lacks: --trainer.accelerator cpu")
        if str(self.trainer.precision) in ROUNDING:
            raise ValueError(
                f"--trainer.precision {self.trainer.precision} rounds the columns themselves: use 32-true, or a "
                f"mixed one"
            )
        data = getattr(self.trainer, "datamodule", None)
        if not isinstance(data, DataModule):
            return
        for split in {"fit": ("train", "val"), "validate": ("val",)}.get(stage, (stage,)):
            if not len(data.samples(split)):
                continue
            rows = self.readable(data, split)
            if data.samples(split).source.name != self.reads:
                # images are not read for a model that does not look at them
                data.serve(split, replace(rows, keys=data.samples(split).keys))

    def readable(self, data: DataModule, split: str) -> Samples:
        """Return the rows of a split, each of which it can read.

        Args:
            data: brings the split
            split: one of train, val, test, predict

        Raises:
            ValueError: it cannot read some
        """
        samples = data.inputs(data.samples(split), self.reads)
        self.check_rows(samples.source.gather(samples.rows), samples.sample_names(), data.texts_of(split))
        return samples

    def teardown(self, stage: str) -> None:
        """Let the loaders serve what they did."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, DataModule):
            data.stop_serving()

    def check_rows(self, rows: Tensor, names: list[str], texts: dict[float, str]) -> None:
        """Refuse rows with missing numbers or unknown categories, unless options say what becomes of them.

        Args:
            rows: float64, shape `(row, column)`
            names: of the rows
            texts: of the codes in them, as far as they are known

        Raises:
            ValueError: the message names column, values and rows
        """
        inputs = self.inputs
        rows, faults = rows.to(inputs.codes.device), []
        for place, column in enumerate(self.table.columns):
            cells = rows[:, place]
            if self.table.missing == "error" and (gone := cells.isnan()).any():
                named = few((shown(names[row]) for row in gone.nonzero()[:, 0].tolist()), 3)
                faults.append(
                    f"column {shown(column.name)} lacks {count_of(int(gone.sum()), 'value')} ({named}), and the model "
                    f"was trained with --data.missing error"
                )
            if self.unseen == "error" and (strange := inputs.unseen(rows, place)).any():
                found = cells[strange].tolist()
                told = few(sorted({shown(texts.get(code, "?")) for code in found}))
                first = shown(names[int(strange.nonzero()[0, 0])])
                faults.append(
                    f"column {shown(column.name)} holds what the training split did not: {told} "
                    f"({count_of(len(found), 'row')}, first {first}): --model.unseen zero takes it for none of those"
                )
        if faults:
            raise ValueError(few(faults, separator="; "))
