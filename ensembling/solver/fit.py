"""Fits of one logistic regression."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ensembling.solver.minimise import LARGEST_HESSIAN, Minimum, by_factors, diagonal_bound, factorise, minimise
from ensembling.solver.objective import Known, Objective, Whitened, class_sums

# share of the objective by which a solution's may be above the lowest
TOLERANCE = 1e-10
# gradients before a first Hessian, and before the next
FIRST_STEPS, REFRESH = 4, 12
# Hessians in single precision, before double
EASY = 2
# multiplications for a Hessian that is no matter: Newton's method, nearly, in double precision at once
CHEAP, NEWTON_REFRESH = 1e8, 3
# samples from which single precision saves time
LARGE = 5000
# bias of a class without a sample
ABSENT = -30.0


@dataclass(eq=False)
class Curvature:
    """A Hessian of the mean cross-entropy, and its factor with a penalty; both `(parameter, parameter)`."""

    hessian: Tensor
    factor: Tensor


@dataclass(eq=False)
class Problem:
    """Samples of the classes that have any."""

    whitened: Whitened
    labels: Tensor
    classes: Tensor
    num_classes: int

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int) -> "Problem":
        """Rotate and scale features `(sample, feature)`; number the classes anew."""
        x, y = features.detach().cpu().double(), labels.cpu()
        if not x.isfinite().all():
            raise ValueError("features of a logistic regression must be finite numbers")
        present = torch.bincount(y, minlength=num_classes) > 0
        # numbered anew, without those that have no sample
        return cls(Whitened.of(x), (present.cumsum(0) - 1)[y], present.nonzero().flatten(), num_classes)

    @cached_property
    def sums(self) -> Tensor:
        """Each class's features, summed over samples, shape `(class, axis + 1)`."""
        return class_sums(self.whitened.x, self.labels, len(self.classes), len(self.whitened.penalty))

    @cached_property
    def single(self) -> Tensor:
        """Features in single precision, shape `(sample, axis + 1 + empty)`."""
        return self.whitened.x.float()

    @property
    def fast(self) -> Tensor:
        """Features for what need not be exact: in single precision where that saves time."""
        return self.single if len(self.labels) >= LARGE else self.whitened.x

    def objective(self, ridge: Tensor, kind: torch.dtype = torch.float64) -> Objective:
        """Return the objectives of several penalties over all samples, computed in single or double precision."""
        x = self.single if kind == torch.float32 else self.whitened.x
        return Objective([x], len(self.classes), ridge, self.sums)

    def ridge(self, Cs: list[float], count: float) -> Tensor:
        """Return half-penalties `(C, axis + 1)` for a mean over so many samples."""
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
        C: inverse strength of the penalty; scikit-learn gives two classes one vector of weights, with twice this C
        max_iterations: of the solver

    Returns:
        weight `(class, feature)` and bias `(class,)`, float64, on the CPU

    Raises:
        ValueError: the solver did not converge, or features that are not finite
    """
    with torch.inference_mode():
        problem = Problem.of(features, labels, num_classes)
        objective = problem.objective(problem.ridge([C], len(labels)))
        start = torch.zeros(1, len(problem.classes) * objective.width, dtype=torch.float64)
        found, _ = solve(objective, start, None, TOLERANCE, max_iterations)
        weight, bias = problem.original(found.solution[0])
    # what is made in inference mode could not be trained on
    return weight.clone(), bias.clone()


def solve(
    objective: Objective,
    start: Tensor,
    hessian: Tensor | None,
    tolerance: float,
    max_iterations: int,
    refresh: int = REFRESH,
    first: Known | None = None,
) -> tuple[Minimum, Curvature | None]:
    """Solve one problem, with a new Hessian whenever the last one serves no longer.

    Args:
        objective: of a single problem
        start: shape `(1, parameter)`
        hessian: of the mean cross-entropy, where one is known, shape `(parameter, parameter)`
        tolerance: share of the objective by which it may still fall
        max_iterations: evaluations of the gradient
        refresh: evaluations before a new Hessian
        first: what the objective gives at the start, if that is known

    Returns:
        the solution, and the last curvature; None where it would have been too large

    Raises:
        ValueError: it did not converge
    """
    used = 0
    small = start.shape[1] <= LARGEST_HESSIAN
    cheap = objective.count * start.shape[1] ** 2 < CHEAP
    refresh, drawn = (NEWTON_REFRESH, EASY) if cheap else (refresh, 0)
    curvature: Curvature | None = None
    while used < max_iterations:
        if hessian is None:
            inner, limit = diagonal_bound([objective]), FIRST_STEPS if small else max_iterations
        else:
            curvature = Curvature(hessian, factorise(hessian, objective.ridge[0], objective.classes))
            inner, limit = by_factors([curvature.factor]), refresh
        found = minimise(objective, start, inner, tolerance, min(limit, max_iterations - used), first)
        start, first = found.solution, found.known
        used += found.evaluations
        # far from the solution the diagonal's own measure of what is left is no proof
        if found.converged.all() and (curvature or not small):
            return found, curvature
        if small:
            # what a first Hessian has not solved is badly conditioned
            kind, drawn = (torch.float32, drawn + 1) if drawn < EASY else (torch.float64, drawn)
            hessian = objective.hessian(start[0], kind)
    raise ValueError(f"logistic regression did not converge in {max_iterations} iterations: raise max_iterations")
