"""Fits of one logistic regression."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ensembling.solver.many import ABSENT, ManyClasses, minimise_many
from ensembling.solver.many import TOLERANCE as MANY_TOLERANCE
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


@dataclass(eq=False)
class Curvature:
    """A Hessian of the mean cross-entropy, and its factor with a penalty; both `(parameter, parameter)`."""

    hessian: Tensor
    factor: Tensor


def is_many(num_classes: int, num_features: int) -> bool:
    """Tell whether there are too many parameters for a Hessian; single precision is then enough for the features."""
    return num_classes * (num_features + 1) > LARGEST_HESSIAN


@dataclass(eq=False)
class Problem:
    """Samples of the classes that have any; `many` says that there are too many parameters for a Hessian."""

    whitened: Whitened
    labels: Tensor
    classes: Tensor
    num_classes: int
    many: bool

    @classmethod
    def of(cls, features: Tensor, labels: Tensor, num_classes: int, order: Tensor | None = None) -> "Problem":
        """Rotate and scale features `(sample, feature)`, samples in an order if one is given; number classes anew."""
        x, y = features.detach().cpu(), labels.cpu()
        y = y if order is None else y[order]
        if not x.isfinite().all():
            raise ValueError("features of a logistic regression must be finite numbers")
        present = torch.bincount(y, minlength=num_classes) > 0
        classes = present.nonzero().flatten()
        many = is_many(len(classes), x.shape[1])
        whitened = Whitened.in_single(x, order) if many else Whitened.of((x if order is None else x[order]).double())
        # numbered anew, without those that have no sample
        return cls(whitened, (present.cumsum(0) - 1)[y], classes, num_classes, many)

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

    def many_classes(self, ridge: Tensor, held: slice | None = None) -> ManyClasses:
        """Return the objective of one half-penalty `(axis + 1,)` over all samples but those held out."""
        return ManyClasses(self.whitened.x, self.labels, len(self.classes), ridge, held)

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
        ridge = problem.ridge([C], len(labels))
        if problem.many:
            objective = problem.many_classes(ridge[0])
            solution, converged = minimise_many(objective, objective.start(), MANY_TOLERANCE, max_iterations)
        else:
            start = torch.zeros(1, ridge.shape[1] * len(problem.classes), dtype=torch.float64)
            found, _ = solve(problem.objective(ridge), start, None, TOLERANCE, max_iterations)
            solution, converged = found.solution[0], bool(found.converged)
        if not converged:
            raise ValueError(not_converged(max_iterations))
        weight, bias = problem.original(solution)
    # what is made in inference mode could not be trained on
    return weight.clone(), bias.clone()


def not_converged(max_iterations: int) -> str:
    """Say that the solver used up its iterations."""
    return f"logistic regression did not converge in {max_iterations} iterations: raise max_iterations"


def solve(
    objective: Objective,
    start: Tensor,
    hessian: Tensor | None,
    tolerance: float,
    max_iterations: int,
    refresh: int = REFRESH,
    first: Known | None = None,
) -> tuple[Minimum, Curvature]:
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
        the solution, which may not have converged, and the last curvature
    """
    used = 0
    cheap = objective.count * start.shape[1] ** 2 < CHEAP
    refresh, drawn = (NEWTON_REFRESH, EASY) if cheap else (refresh, 0)
    curvature: Curvature | None = None
    while True:
        if hessian is None:
            inner, limit = diagonal_bound([objective]), FIRST_STEPS
        else:
            curvature = Curvature(hessian, factorise(hessian, objective.ridge[0], objective.classes))
            inner, limit = by_factors([curvature.factor]), refresh
        found = minimise(objective, start, inner, tolerance, min(limit, max_iterations - used), first)
        start, first = found.solution, found.known
        used += found.evaluations
        # far from the solution the diagonal's own measure of what is left is no proof
        if curvature and (found.converged.all() or used >= max_iterations):
            return found, curvature
        # what a first Hessian has not solved is badly conditioned
        kind, drawn = (torch.float32, drawn + 1) if drawn < EASY else (torch.float64, drawn)
        hessian = objective.hessian(start[0], kind)
