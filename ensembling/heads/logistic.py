"""The logistic head: multinomial logistic regression with an L2 penalty."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from common.ranges import OptionError, check_ranges
from ensembling.choices import Features
from ensembling.heads.base import HEAD_OPTION, Head, check_meta_samples

if TYPE_CHECKING:
    from torch import Tensor, nn

RANGES = {
    "C": "(0, inf)",
    "C_min": "(0, inf)",
    "C_max": "(0, inf)",
    "C_count": "[1, inf)",
    "folds": "[2, inf)",
    "max_iterations": "[1, inf)",
}


@dataclass(eq=False)
class LogisticHead(Head):
    """Multinomial logistic regression with an L2 penalty, solved to convergence.

    With many classes the choice of C tries no weaker penalty after the NLL has risen, and holds out one fold only where
    all of them would take minutes; a note says the latter.

    Args:
        C: inverse strength of the penalty, as in scikit-learn's LogisticRegression (of two classes each has weights
            here, so that the same penalty is twice that C there); null chooses it by stratified cross-validation of the
            NLL, which is the sounder choice where the features are of an unknown scale
        features: what the head sees of each member
        C_min: smallest C tried
        C_max: largest C tried
        C_count: how many values of C are tried, evenly on a logarithmic scale
        folds: of the cross-validation; fewer where the rarest class has fewer samples
        max_iterations: of the solver; a C that does not converge in so many is left out, and a note says so
    """

    C: float | None = None
    features: Features = "logits"
    C_min: float = 1e-4
    C_max: float = 1e4
    C_count: int = 10
    folds: int = 5
    max_iterations: int = 1000
    solved: ClassVar[bool] = True
    name: ClassVar[str] = "logistic"

    def __post_init__(self) -> None:
        check_ranges(HEAD_OPTION, self, RANGES)
        if self.C_min > self.C_max:
            raise OptionError(f"{HEAD_OPTION}.C_min", f"must not be above C_max: {self.C_min} with C_max {self.C_max}")

    @property
    def grid(self) -> list[float]:
        """Values of C to choose from, ascending."""
        import numpy as np

        return np.geomspace(self.C_min, self.C_max, self.C_count).tolist()

    def build(self, num_bases: int, num_classes: int) -> "nn.Module":
        """Build a linear layer."""
        from ensembling.heads.networks import Logistic

        return Logistic(self.features, num_bases, num_classes)

    def solve(
        self, module: "nn.Module", logits: "Tensor", labels: "Tensor", seed: int = 0, groups: "Tensor | None" = None
    ) -> None:
        """Fit the linear layer."""
        import torch

        from ensembling.folds import meta_folds
        from ensembling.heads.networks import Logistic
        from ensembling.logits import to_features
        from ensembling.solver.cv import fit_logistic_cv
        from ensembling.solver.fit import fit_logistic, is_many

        assert isinstance(module, Logistic)
        check_meta_samples(logits, labels, module.out_features, finite=self.features == "logits")
        classes, notes = module.out_features, list[str]()
        # a copy in double precision would take much memory
        many = is_many(len(labels.unique()), module.in_features)
        x = to_features(logits if many else logits.double(), self.features)
        if self.C is None:
            folds = meta_folds(labels, self.folds, seed, groups)
            weight, bias, C, _ = fit_logistic_cv(x, labels, classes, self.grid, folds, self.max_iterations, notes)
        else:
            weight, bias = fit_logistic(x, labels, classes, self.C, self.max_iterations)
            C = self.C
        module.load_state_dict({"weight": weight, "bias": bias, "C": torch.tensor(C)})
        module.notes = notes
