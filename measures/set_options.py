"""What is asked of prediction sets; read by help texts, so it must not import what is slow to import."""

from dataclasses import dataclass
from typing import Literal

from common.ranges import check_ranges

Method = Literal["raps", "aps", "lac"]
By = Literal["all", "class", "source"]


@dataclass(eq=False)
class SetOptions:
    """Which classes a prediction set holds.

    Args:
        coverage: share of new images whose set is to hold the true class, in (0, 1)
        method: raps (regularised adaptive sets), aps (the same without penalty) or lac (all classes above one
            probability: the smallest sets on average, and too small for difficult images)
        by: what the coverage holds for: all (all images together), class (the images of each true class) or source
            (the images of each source of a manifest)
        penalty: of raps, for each class after the first `unpenalised` of an image; more makes large sets rare
        unpenalised: of raps, how many classes a set may hold without penalty
        empty: leave a set empty where the model is least sure of its first class; otherwise a set holds the most
            probable class at least, and covers more than asked where that alone is right more often
    """

    coverage: float = 0.9
    method: Method = "raps"
    by: By = "all"
    penalty: float = 0.01
    unpenalised: int = 5
    empty: bool = False

    def __post_init__(self) -> None:
        check_ranges("--sets", self, {"coverage": "(0, 1)", "penalty": "[0, inf)", "unpenalised": "[1, inf)"})
