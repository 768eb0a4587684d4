"""Options that say what is known of the classes: which one is looked for, and whether they are ordered."""

from collections.abc import Sequence

from common.options import configurable, option
from common.ranges import check_range
from datamodules.names import matching, unknown_names


@configurable
class ProblemOptions:
    """What is known of the classes beside their names.

    Args:
        positive_class: the class of two that is looked for, such as defect: sensitivity, specificity, its precision, F1
            and average precision are reported; null for none
        specificity: share of the other class that is to be recognised as such, in (0, 1), with `positive_class`: the
            threshold for it is chosen on held-out images, and measured at the test
        ordinal: the classes are ordered, in label order (a manifest's `class_names` give it): quadratic kappa and the
            mean absolute error are reported
    """

    positive_class: str | None = option(None, "serving")
    specificity: float = option(0.95, "serving")
    ordinal: bool = option(False, "serving")

    def check_problem_options(self) -> None:
        """Refuse options that are out of their ranges, or lack the one that they need.

        Raises:
            ValueError: the message names them
        """
        check_range("--data.specificity", self.specificity, "(0, 1)")
        if self.specificity != ProblemOptions.specificity and self.positive_class is None:
            raise ValueError("--data.specificity needs --data.positive_class")

    def positive_number(self, class_names: Sequence[str]) -> int | None:
        """Return the number of the positive class; None where there is none.

        Args:
            class_names: the name of each class

        Raises:
            ValueError: there is no such class, or there are other classes than two
        """
        if self.positive_class is None:
            return None
        if len(class_names) != 2:
            raise ValueError(f"--data.positive_class is for data of 2 classes, not of {len(class_names)}")
        name = matching(str(self.positive_class), class_names)
        if name is None:
            asked = unknown_names([str(self.positive_class)], class_names)
            raise ValueError(f"--data.positive_class: there is no class {asked} (known: {', '.join(class_names)})")
        return class_names.index(name)
