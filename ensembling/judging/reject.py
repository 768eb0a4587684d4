"""What to accept of a stack's predictions: the options."""

from dataclasses import dataclass

from common.ranges import check_ranges


@dataclass(eq=False)
class Reject:
    """What to accept of a stack's predictions; nothing is rejected if neither is given.

    Args:
        accuracy: wanted among the accepted of new images, with a confidence of 95 %, in (0, 1]; as few as possible are
            rejected, or all where held-out samples are too few to promise it
        coverage: share of images to accept, in (0, 1]; the least certain are rejected
        per_class: one threshold for each predicted class, each of which must reach the wanted accuracy or coverage
    """

    accuracy: float | None = None
    coverage: float | None = None
    per_class: bool = False

    def __post_init__(self) -> None:
        if self.accuracy is not None and self.coverage is not None:
            raise ValueError(
                f"--reject.accuracy {self.accuracy} and --reject.coverage {self.coverage} each set the threshold: give "
                f"one"
            )
        check_ranges("--reject", self, {"accuracy": "(0, 1]", "coverage": "(0, 1]"})
        if self.per_class and not self.wanted:
            raise ValueError("--reject.per_class needs --reject.accuracy or --reject.coverage")

    @property
    def wanted(self) -> bool:
        """Whether anything is to be rejected."""
        return self.accuracy is not None or self.coverage is not None
