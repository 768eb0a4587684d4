"""Meta-models: from the bases' features to logits."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor, nn


class Head(ABC):
    """Options of a meta-model; `build` makes the module."""

    # solved at once on all samples, rather than trained in epochs
    solved: ClassVar[bool] = False

    @abstractmethod
    def build(self, num_features: int, num_classes: int) -> nn.Module:
        """Build the module from features `(batch, feature)` to logits `(batch, class)`."""

    def solve(self, module: nn.Module, features: Tensor, labels: Tensor) -> None:
        """Fit a solved head's module on all samples at once.

        Args:
            module: what `build` returned
            features: shape `(sample, feature)`
            labels: int64, shape `(sample,)`
        """
        raise TypeError(f"{type(self).__name__} is trained in epochs")


@dataclass(eq=False)
class LogisticHead(Head):
    """Multinomial logistic regression with an L2 penalty, solved to convergence in double precision.

    Args:
        C: inverse strength of the penalty, as in scikit-learn's LogisticRegression
        max_iterations: of the solver
    """

    C: float = 1.0
    max_iterations: int = 10_000
    solved: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.C <= 0:
            raise ValueError(f"C must be above 0, not {self.C}")
        if self.max_iterations < 1:
            raise ValueError(f"max_iterations must be at least 1, not {self.max_iterations}")

    def build(self, num_features: int, num_classes: int) -> nn.Module:
        """Build a linear layer."""
        return nn.Linear(num_features, num_classes)

    def solve(self, module: nn.Module, features: Tensor, labels: Tensor) -> None:
        """Fit the linear layer."""
        assert isinstance(module, nn.Linear)
        weight, bias = fit_logistic(features, labels, module.out_features, self.C, self.max_iterations)
        module.load_state_dict({"weight": weight, "bias": bias})


@dataclass(eq=False)
class MLPHead(Head):
    """Fully connected layers with ReLU and dropout, trained in epochs.

    Args:
        hidden: width of each hidden layer
        dropout: share of activations dropped after each hidden layer, in [0, 1)
    """

    hidden: list[int] = field(default_factory=lambda: [128, 128])
    dropout: float = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), not {self.dropout}")

    def build(self, num_features: int, num_classes: int) -> nn.Module:
        """Build the layers."""
        layers: list[nn.Module] = []
        for width in self.hidden:
            layers += [nn.Linear(num_features, width), nn.ReLU(), nn.Dropout(self.dropout)]
            num_features = width
        return nn.Sequential(*layers, nn.Linear(num_features, num_classes))


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
