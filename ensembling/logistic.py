"""The logistic head: multinomial logistic regression with an L2 penalty."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from ensembling.base import Head, check_meta_samples
from ensembling.folds import meta_folds
from ensembling.logits import Features, to_features


class Logistic(nn.Linear):
    """A linear layer on features of members' logits.

    Args:
        features: what the layer sees of each member
        num_bases: number of members
        num_classes: number of classes
    """

    def __init__(self, features: Features, num_bases: int, num_classes: int) -> None:
        super().__init__(num_bases * num_classes, num_classes)
        self.features = features
        # that of the fit, for tables
        self.C: float | None = None

    def forward(self, logits: Tensor) -> Tensor:
        """Pool logits `(batch, base, class)` to logits `(batch, class)`."""
        return super().forward(to_features(logits.to(self.weight.dtype), self.features))


@dataclass(eq=False)
class LogisticHead(Head):
    """Multinomial logistic regression with an L2 penalty, solved to convergence in double precision.

    Args:
        C: inverse strength of the penalty, as in scikit-learn's LogisticRegression; null chooses it by stratified
            cross-validation of the NLL, which is the sounder choice where the features are of an unknown scale
        features: what the head sees of each base
        C_min: smallest C tried
        C_max: largest C tried
        C_count: how many values of C are tried, evenly on a logarithmic scale
        folds: of the cross-validation; fewer where the rarest class has fewer samples
        max_iterations: of the solver
    """

    C: float | None = 1.0
    features: Features = "logits"
    C_min: float = 1e-4
    C_max: float = 1e4
    C_count: int = 10
    folds: int = 5
    max_iterations: int = 1000
    solved: ClassVar[bool] = True
    name: ClassVar[str] = "logistic"

    def __post_init__(self) -> None:
        if self.C is not None and self.C <= 0:
            raise ValueError(f"C must be above 0, not {self.C}")
        if not 0 < self.C_min <= self.C_max:
            raise ValueError(f"C_min must be above 0 and not above C_max, not {self.C_min} with C_max {self.C_max}")
        for option, least in (("C_count", 1), ("folds", 2), ("max_iterations", 1)):
            if getattr(self, option) < least:
                raise ValueError(f"{option} must be at least {least}, not {getattr(self, option)}")

    @property
    def grid(self) -> list[float]:
        """Values of C to choose from, ascending."""
        return np.geomspace(self.C_min, self.C_max, self.C_count).tolist()

    def build(self, num_bases: int, num_classes: int) -> nn.Module:
        """Build a linear layer."""
        return Logistic(self.features, num_bases, num_classes)

    def solve(
        self, module: nn.Module, logits: Tensor, labels: Tensor, seed: int = 0, groups: Tensor | None = None
    ) -> None:
        """Fit the linear layer."""
        assert isinstance(module, Logistic)
        check_meta_samples(logits, labels, module.out_features, finite=self.features == "logits")
        x, classes = to_features(logits.double(), self.features), module.out_features
        C = self.C
        if C is None:
            C = choose_C(x, labels, classes, self.grid, meta_folds(labels, self.folds, seed, groups))
        weight, bias = fit_logistic(x, labels, classes, C, self.max_iterations)
        module.load_state_dict({"weight": weight, "bias": bias})
        module.C = C


def choose_C(features: Tensor, labels: Tensor, num_classes: int, grid: list[float], folds: Tensor) -> float:
    """Choose C by cross-validation of the NLL."""
    best, chosen = torch.inf, grid[0]
    for C in grid:
        total = 0.0
        for fold in range(int(folds.max()) + 1):
            held = folds == fold
            weight, bias = fit_logistic(features[~held], labels[~held], num_classes, C)
            logits = features[held].double() @ weight.T + bias
            total += float(nn.functional.cross_entropy(logits, labels[held], reduction="sum"))
        if total < best:
            best, chosen = total, C
    return chosen


def fit_logistic(
    features: Tensor, labels: Tensor, num_classes: int, C: float, max_iterations: int = 10_000
) -> tuple[Tensor, Tensor]:
    """Minimise `C * sum of cross-entropies + |weight|^2 / 2`, the objective of scikit-learn's LogisticRegression.

    L-BFGS on standardised features: a change of variables that leaves the optimum where it is, since the penalty is
    taken on the original scale, and makes the problem well conditioned.

    Args:
        features: shape `(sample, feature)`
        labels: int64, shape `(sample,)`
        num_classes: number of classes; one without a sample gets a very low probability
        C: inverse strength of the penalty
        max_iterations: of the solver

    Returns:
        weight `(class, feature)` and bias `(class,)`, float64, on the CPU

    Raises:
        ValueError: the solver did not converge
    """
    x, y = features.detach().cpu().double(), labels.cpu()
    mean, scale = x.mean(0), x.std(0, unbiased=False)
    # a constant feature carries nothing; its weight stays at zero
    scale = torch.where(scale > 1e-12 * (1 + mean.abs()), scale, torch.ones_like(scale))
    x = (x - mean) / scale
    count, width = x.shape
    one_hot = nn.functional.one_hot(y, num_classes).double()
    penalty = 1 / (C * count)

    def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        parameters = torch.from_numpy(flat).view(num_classes, width + 1)
        weight, bias = parameters[:, :width], parameters[:, width]
        log_probabilities = torch.addmm(bias, x, weight.T).log_softmax(1)
        original = weight / scale
        loss = -(log_probabilities * one_hot).sum() / count + 0.5 * penalty * original.square().sum()
        error = (log_probabilities.exp() - one_hot) / count
        gradient = torch.empty_like(parameters)
        gradient[:, :width] = error.T @ x + penalty * original / scale
        gradient[:, width] = error.sum(0)
        return float(loss), gradient.view(-1).numpy()

    start = np.zeros(num_classes * (width + 1))
    # maxcor: few parameters, so a long memory is cheap and saves iterations
    options = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "gtol": 1e-8, "ftol": 1e-15, "maxcor": 30}
    # the solver's own threads would fight torch's over the cores between any two evaluations: ten times slower
    with threadpool_limits(1, "blas"):
        result = minimize(objective, start, jac=True, method="L-BFGS-B", options=options)
    if result.nit >= max_iterations:
        raise ValueError(f"logistic regression did not converge in {max_iterations} iterations: raise max_iterations")
    solution = torch.from_numpy(result.x).view(num_classes, width + 1)
    weight = solution[:, :width] / scale
    return weight, solution[:, width] - weight @ mean
