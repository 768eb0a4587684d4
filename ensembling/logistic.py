"""The logistic head: multinomial logistic regression with an L2 penalty."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ensembling.base import Head, check_meta_samples
from ensembling.folds import meta_folds
from ensembling.logistic_solver import (
    LARGEST_HESSIAN,
    Objective,
    Whitened,
    by_hessian,
    diagonal_bound,
    minimise,
)
from ensembling.logits import Features, to_features

# shares of the objective by which it may still fall: of a solution, of the folds' and of where those begin
TOLERANCE, CV_TOLERANCE, ROUGH_TOLERANCE = 1e-10, 1e-8, 1e-5
# gradients before a first Hessian, and before the next
FIRST_STEPS, REFRESH = 4, 12
# bias of a class without a sample
ABSENT = -30.0


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
        if self.C is None:
            folds = meta_folds(labels, self.folds, seed, groups)
            weight, bias, C, _ = fit_logistic_cv(x, labels, classes, self.grid, folds, self.max_iterations)
        else:
            weight, bias = fit_logistic(x, labels, classes, self.C, self.max_iterations)
            C = self.C
        module.load_state_dict({"weight": weight, "bias": bias})
        module.C = C


@dataclass(eq=False)
class _Problem:
    """Samples of the classes that have any."""

    whitened: Whitened
    labels: Tensor
    classes: Tensor
    num_classes: int

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int) -> "_Problem":
        x, y = features.detach().cpu().double(), labels.cpu()
        if not x.isfinite().all():
            raise ValueError("features of a logistic regression must be finite numbers")
        classes, y = torch.unique(y, return_inverse=True)
        return cls(Whitened.of(x), y, classes, num_classes)

    def objective(self, Cs: list[float]) -> Objective:
        return Objective([(self.whitened.x, self.labels)], len(self.classes), self.ridge(Cs, len(self.labels)))

    def ridge(self, Cs: list[float], count: float) -> Tensor:
        return self.whitened.penalty / (count * torch.tensor(Cs, dtype=torch.float64)[:, None])

    def original(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight and bias for all classes; one without a sample is never predicted."""
        present, bias = self.whitened.original(solution.view(len(self.classes), -1))
        # a constant for all classes says nothing
        bias = bias - bias.mean()
        weight = torch.zeros(self.num_classes, present.shape[1], dtype=torch.float64)
        biases = torch.full((self.num_classes,), ABSENT, dtype=torch.float64)
        weight[self.classes], biases[self.classes] = present, bias
        return weight, biases


def fit_logistic(
    features: Tensor, labels: Tensor, num_classes: int, C: float, max_iterations: int = 1000
) -> tuple[Tensor, Tensor]:
    """Minimise `C * sum of cross-entropies + |weight|^2 / 2`, the objective of scikit-learn's LogisticRegression.

    Args:
        features: shape `(sample, feature)`
        labels: int64, shape `(sample,)`
        num_classes: number of classes; one without a sample has no weights, and a bias of -30, while those of the
            others have a mean of 0: their logits do too, so that it never gets a probability above e^-30
        C: inverse strength of the penalty
        max_iterations: of the solver

    Returns:
        weight `(class, feature)` and bias `(class,)`, float64, on the CPU

    Raises:
        ValueError: the solver did not converge, or features that are not finite
    """
    problem = _Problem.of(features, labels, num_classes)
    objective = problem.objective([C])
    start = torch.zeros(1, len(problem.classes) * objective.width, dtype=torch.float64)
    solution, _ = _solve(objective, start, None, TOLERANCE, max_iterations)
    return problem.original(solution[0])


def fit_logistic_cv(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    Cs: Sequence[float],
    folds: Tensor,
    max_iterations: int = 1000,
) -> tuple[Tensor, Tensor, float, Tensor]:
    """Choose C by the NLL of held-out folds, and fit all samples with it.

    All samples are fitted first, from the strongest penalty to the weakest, each fit beginning where the one before
    ended. The folds' fits, all penalties at once, then begin at those solutions with their Hessians, and are nearly
    there: they are still solved to convergence, so that nothing of a held-out sample is left in them.

    Args:
        features: shape `(sample, feature)`
        labels: int64, shape `(sample,)`
        num_classes: number of classes; see `fit_logistic`
        Cs: inverse strengths of the penalty to choose from
        folds: fold of each sample, from 0, shape `(sample,)`
        max_iterations: of the solver, for each fit

    Returns:
        weight `(class, feature)`, bias `(class,)`, the chosen C, and the held-out NLL of each C in ascending order
        (samples of a class that the other folds do not have are left out)

    Raises:
        ValueError: see `fit_logistic`
    """
    grid = sorted(Cs)
    # each fold's samples side by side: the others are then two slices, and need no copy
    order = torch.sort(folds, stable=True).indices
    problem = _Problem.of(features.detach().cpu()[order], labels.cpu()[order], num_classes)
    path, hessians = _path(problem, grid, max_iterations)
    if len(problem.classes) == 1:
        scores = torch.zeros(len(grid), dtype=torch.float64)
    else:
        ends = torch.bincount(folds).cumsum(0).tolist()
        parts = [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]
        scores = sum(
            (_held_out(problem, grid, part, path, hessians, max_iterations) for part in parts),
            torch.zeros(len(grid), dtype=torch.float64),
        )
    chosen = int(scores.argmin())
    solution, _ = _solve(
        problem.objective([grid[chosen]]), path[chosen : chosen + 1], hessians[chosen], TOLERANCE, max_iterations
    )
    return *problem.original(solution[0]), grid[chosen], scores / len(folds)


def _path(problem: _Problem, grid: list[float], max_iterations: int) -> tuple[Tensor, list[Tensor | None]]:
    """Fit all samples for each C; return solutions `(C, parameter)` and the Hessian that served each."""
    width = len(problem.classes) * problem.whitened.x.shape[1]
    solution, hessian = torch.zeros(1, width, dtype=torch.float64), None
    solutions, hessians = [], []
    for C in grid:
        solution, hessian = _solve(problem.objective([C]), solution, hessian, ROUGH_TOLERANCE, max_iterations)
        solutions.append(solution)
        hessians.append(hessian)
    return torch.cat(solutions), hessians


def _held_out(
    problem: _Problem,
    grid: list[float],
    held: slice,
    path: Tensor,
    hessians: list[Tensor | None],
    max_iterations: int,
) -> Tensor:
    """Fit the samples but one fold's, for all C at once; return the sum of its NLL for each C."""
    x, y, width = problem.whitened.x, problem.labels, problem.whitened.x.shape[1]
    parts = [(x[: held.start], y[: held.start]), (x[held.stop :], y[held.stop :])]
    classes = torch.unique(torch.cat([labels for _, labels in parts]))
    if len(classes) < 2:
        # nothing to learn, whatever C is
        return torch.zeros(len(grid), dtype=torch.float64)
    renumbered = torch.full((len(problem.classes),), -1).index_copy(0, classes, torch.arange(len(classes)))
    parts = [(part, renumbered[labels]) for part, labels in parts]
    count = len(y) - (held.stop - held.start)
    objective = Objective(parts, len(classes), problem.ridge(grid, count))
    # of the classes that are left
    kept = (classes[:, None] * width + torch.arange(width)).flatten()
    start = path[:, kept]
    known = [hessian for hessian in hessians if hessian is not None]
    if len(known) == len(grid):
        inner = by_hessian(torch.stack(known)[:, kept][:, :, kept], objective.ridge, len(classes))
    else:
        inner = diagonal_bound(objective)
    solutions, converged, _ = minimise(objective, start, inner, CV_TOLERANCE, REFRESH if known else max_iterations)
    for number in (~converged).nonzero().flatten().tolist():
        one = Objective(parts, len(classes), objective.ridge[number : number + 1])
        solutions[number : number + 1], _ = _solve(
            one, solutions[number : number + 1], None, CV_TOLERANCE, max_iterations
        )
    labels = renumbered[y[held]]
    logits = (solutions.view(-1, width) @ x[held].T).view(len(grid), len(classes), -1).transpose(1, 2)[:, labels >= 0]
    log_p = logits.log_softmax(2)
    return -log_p.gather(2, labels[labels >= 0][None, :, None].expand(len(grid), -1, 1)).sum((1, 2))


def _solve(
    objective: Objective, start: Tensor, hessian: Tensor | None, tolerance: float, max_iterations: int
) -> tuple[Tensor, Tensor | None]:
    """Solve one problem, with a new Hessian whenever the last one serves no longer.

    Returns:
        parameters `(1, parameter)`, and the last Hessian; None where it would have been too large
    """
    used = 0
    small = start.shape[1] <= LARGEST_HESSIAN
    while used < max_iterations:
        if hessian is None:
            inner, limit = diagonal_bound(objective), FIRST_STEPS if small else max_iterations
        else:
            inner, limit = by_hessian(hessian[None], objective.ridge, objective.classes), REFRESH
        start, converged, steps = minimise(objective, start, inner, tolerance, min(limit, max_iterations - used))
        used += steps
        # far from the solution the diagonal's own measure of what is left is no proof
        if converged.all() and (hessian is not None or not small):
            return start, hessian
        if small:
            hessian = objective.hessian(start[0])
    raise ValueError(f"logistic regression did not converge in {max_iterations} iterations: raise max_iterations")
