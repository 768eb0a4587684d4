"""What a data set knows about itself and a model needs to be built."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from common.few import few
from datamodules.names import names_differ, one_form, shown
from datamodules.table_info import TableInfo, plain_table
from measures.problem import Problem


@dataclass(frozen=True)
class DataInfo:
    """Facts that a DataModule hands to the model, so that they need not be given twice.

    Args:
        num_classes: number of classes; 1 where a number is to be predicted
        in_channels: channels of the images: 1 (grey) or 3 (RGB); 0 where there are none
        image_size: height and width of the images as the data serves them, in pixels; 0 where there are none
        class_names: the name of each class, in label order
        class_counts: images of each class in the training split, in label order
        mean: mean of each channel over the training split, on the scale [0, 1]
        std: standard deviation of each channel over the training split, on the scale [0, 1]
        value_range: values of a pixel in image files that become 0 and 255, such as 0,4095, or full; None where the
            data has no such choice
        ordinal: whether the classes are ordered
        positive: number of the class of two that is looked for; None where none is
        specificity: share of the other class that is to be recognised as such
        table: columns of features; None where the data has none
    """

    num_classes: int
    in_channels: int = 0
    image_size: tuple[int, int] = (0, 0)
    class_names: list[str] = field(default_factory=list)
    class_counts: list[int] = field(default_factory=list)
    mean: list[float] = field(default_factory=lambda: [0.5])
    std: list[float] = field(default_factory=lambda: [0.5])
    value_range: str | None = None
    ordinal: bool = False
    positive: int | None = None
    specificity: float = 0.95
    table: TableInfo | None = None

    @property
    def problem(self) -> Problem:
        """What is measured beside what all problems have."""
        return Problem(self.ordinal, self.positive, self.specificity)

    def with_problem(self, other: "DataInfo") -> "DataInfo":
        """Return these facts with what another one says of the problem: that changes what is measured alone."""
        return replace(self, ordinal=other.ordinal, positive=other.positive, specificity=other.specificity)

    def plain(self) -> dict[str, Any]:
        """Return the facts as plain Python types, for a config or a checkpoint."""
        return asdict(self) | {"image_size": list(self.image_size), "table": plain_table(self.table)}

    @classmethod
    def from_plain(cls, values: dict[str, Any]) -> "DataInfo":
        """Rebuild from what `plain` returned."""
        height, width = values["image_size"]
        # the names get the form that data sets give them: an old checkpoint may hold another form
        names = [one_form(name) for name in values["class_names"]]
        table = values.get("table")
        if table is not None and not isinstance(table, TableInfo):
            table = TableInfo.from_plain(dict(table))
        return cls(**values | {"image_size": (int(height), int(width)), "class_names": names, "table": table})

    def check_compatible(self, other: "DataInfo", ours: str, theirs: str) -> None:
        """Refuse to pair a model with data of other classes, channels or ranges of values.

        Args:
            other: the facts on the other side
            ours: what to call this side in the error, such as a file
            theirs: what to call the other side

        Raises:
            ValueError: number of classes, class names, channels or ranges of values differ
        """
        parts = []
        for name in ("num_classes", "in_channels", "class_names"):
            left, right = getattr(self, name), getattr(other, name)
            if left != right:
                parts.append(
                    f"{ours} has {name} {_told(left)}, but {theirs} has {name} {_told(right)}"
                    + (f" ({names_differ(left, right)})" if name == "class_names" else "")
                )
        # older models were trained on all that a pixel can hold
        own = self.value_range or "full"
        if other.value_range is not None and other.value_range != own:
            parts.append(
                f"{ours} has value_range {own}, but {theirs} has {other.value_range}: set --data.value_range {own}"
            )
        if self.table is not None and (told := self.table.difference(other.table, ours, theirs)):
            parts.append(told)
        if parts:
            raise ValueError("; ".join(parts))


def _told(value: object) -> str:
    return f"[{few(map(shown, value), shown=10)}]" if isinstance(value, list) else str(value)
