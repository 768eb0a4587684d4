"""Solver of multinomial logistic regression: many penalties at once, over few gradients.

Steps are L-BFGS's, on top of a Hessian that need only be roughly right and is therefore taken from few samples, in
single precision, and kept for as long as it serves; gradients and the test of convergence are in double precision, over
all samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.linalg import vector_norm

from ensembling.solver.objective import Joint, Known, Objective

# parameters beyond which a Hessian costs more than it saves
LARGEST_HESSIAN = 2000
# pairs of steps and gradients that L-BFGS remembers
MEMORY = 8
# steps that may be too long, in all
BACKTRACKS = 6
# added to the loss in the stopping rule: below this mean cross-entropy, as where classes are separated, relative
# precision does not matter
ALMOST_NOTHING = 1e-3
# maps gradients (problem, parameter) of the problems with these numbers to steps
Preconditioner = Callable[[Tensor, Tensor], Tensor]


@dataclass(eq=False)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        solution: shape `(problem, parameter)`
        converged: which of the problems, shape `(problem,)`
        known: what the objective gives there
        evaluations: of the objective
    """

    solution: Tensor
    converged: Tensor
    known: Known
    evaluations: int


def diagonal_bound(objectives: Sequence[Objective]) -> Preconditioner:
    """Precondition by the Hessian at equal probabilities, which is diagonal on the principal axes.

    Twice it bounds every Hessian: Boehning, Multinomial logistic regression algorithm, 1992.
    """
    classes = objectives[0].classes
    diagonal = (1 / classes + torch.cat([objective.ridge for objective in objectives])).repeat(1, classes)
    return lambda gradient, problems: gradient / diagonal[problems]


def factorise(hessian: Tensor, ridge: Tensor, num_classes: int) -> Tensor:
    """Factorise a Hessian of the mean cross-entropy with a penalty.

    Args:
        hessian: shape `(parameter, parameter)`
        ridge: half-penalties, shape `(axis + 1,)`
        num_classes: number of classes

    Returns:
        lower Cholesky factor in the Hessian's precision, shape `(parameter, parameter)`

    Raises:
        ValueError: the Hessian is not finite
    """
    width = len(ridge)
    full = hessian.clone()
    full.diagonal().view(num_classes, width).add_(ridge)
    # adding the same weights to all classes changes no probability, and no solution does: any curvature there makes
    # the matrix regular
    full.view(num_classes, width, num_classes, width).diagonal(dim1=1, dim2=3).add_(1 / num_classes**2)
    # single precision can leave a matrix slightly indefinite
    factor, failed = torch.linalg.cholesky_ex(full)
    jitter = 0.0
    while failed:
        if not full.isfinite().all():
            raise ValueError("the Hessian of a logistic regression is not finite: are its features very large?")
        jitter = max(10 * jitter, 1e-8)
        full.diagonal().add_(jitter * full.diagonal().mean())
        factor, failed = torch.linalg.cholesky_ex(full)
    return factor


def by_factors(factors: Sequence[Tensor]) -> Preconditioner:
    """Precondition by what `factorise` gave for each problem; some may share a factor."""
    known = {id(factor): factor for factor in factors}

    def precondition(gradient: Tensor, problems: Tensor) -> Tensor:
        # gathering the factors of some problems would cost more than solving with one after the other
        places: dict[int, list[int]] = {}
        for place, number in enumerate(problems.tolist()):
            places.setdefault(id(factors[number]), []).append(place)
        if len(places) == 1:
            (name,) = places
            return _solved(known[name], gradient)
        steps = torch.empty_like(gradient)
        for name, rows in places.items():
            steps[rows] = _solved(known[name], gradient[rows])
        return steps

    return precondition


def _solved(factor: Tensor, gradient: Tensor) -> Tensor:
    # for a few right-hand sides, this takes half of the time of torch.cholesky_solve
    half = torch.linalg.solve_triangular(factor, gradient.T.to(factor.dtype), upper=False)
    return torch.linalg.solve_triangular(factor.T, half, upper=True).T.double()


def minimise(
    objective: Objective | Joint,
    start: Tensor,
    precondition: Preconditioner,
    tolerance: float,
    iterations: int,
    first: Known | None = None,
) -> Minimum:
    """Run preconditioned L-BFGS on several problems at once, each with its own step length.

    Args:
        objective: values and gradients
        start: shape `(problem, parameter)`
        precondition: approximate inverse Hessians
        tolerance: share of the value by which it may still fall, as estimated by half the Newton decrement
        iterations: steps at most, not counting those that were too long
        first: what the objective gives at the start, if that is known
    """
    alive, w = torch.arange(len(start)), start
    value, gradient, noise = objective(w, alive) if first is None else first
    inner = precondition(gradient, alive)
    step = -inner
    slope = (gradient * step).sum(1)
    length = torch.ones(len(start), dtype=torch.float64)
    history: list[tuple[Tensor, ...]] = []
    ended: list[tuple[Tensor, ...]] = []
    steps = evaluations = 0
    while True:
        done = -0.5 * slope <= tolerance * (value + ALMOST_NOTHING) + 0.1 * noise
        stop = steps == iterations or evaluations == iterations + BACKTRACKS
        if stop or bool(done.any()):
            which = slice(None) if stop or bool(done.all()) else done
            ended.append(tuple(part[which] for part in (alive, w, done, value, gradient, noise)))
            if which is not done:
                return _minimum(ended, evaluations)
            rest = ~done
            alive, w, value, gradient, noise, inner, step, length, slope = (
                part[rest] for part in (alive, w, value, gradient, noise, inner, step, length, slope)
            )
            history = [tuple(part[rest] for part in pair) for pair in history]
        trial = w + length[:, None] * step
        new_value, new_gradient, new_noise = objective(trial, alive)
        evaluations += 1
        good = new_value <= value + 1e-4 * length * slope + new_noise
        new_inner = precondition(new_gradient, alive)
        if good.all():
            length = torch.ones_like(length)
        else:
            length = torch.where(good, 1.0, 0.3 * length)
            # a pair of no step has no say
            new_value, trial, new_gradient, new_noise, new_inner = (
                torch.where(good if new.ndim == 1 else good[:, None], new, old)
                for new, old in (
                    (new_value, value), (trial, w), (new_gradient, gradient), (new_noise, noise), (new_inner, inner),
                )
            )  # fmt: skip
        moved, turned = trial - w, new_gradient - gradient
        bend = (moved * turned).sum(1)
        good_bend = bend > 1e-10 * vector_norm(moved, dim=1) * vector_norm(turned, dim=1)
        inverse = bend.reciprocal().masked_fill_(~good_bend, 0.0)
        history = [*history, (moved, turned, new_inner - inner, inverse)][-MEMORY:]
        w, value, gradient, noise, inner = trial, new_value, new_gradient, new_noise, new_inner
        step = torch.where(good[:, None], -_two_loops(gradient, inner, history), step)
        slope = (gradient * step).sum(1)
        if (slope >= 0).any():
            # uphill by rounding errors
            step = torch.where((slope >= 0)[:, None], -inner, step)
            slope = (gradient * step).sum(1)
        steps += bool(good.any())


def _minimum(ended: list[tuple[Tensor, ...]], evaluations: int) -> Minimum:
    """Put problems that ended at different times back in order."""
    if len(ended) == 1:
        _, solution, converged, *known = ended[0]
    else:
        numbers, *parts = (torch.cat(part) for part in zip(*ended, strict=True))
        solution, converged, *known = (part[numbers.argsort()] for part in parts)
    return Minimum(solution, converged, (known[0], known[1], known[2]), evaluations)


def _two_loops(gradient: Tensor, inner: Tensor, history: list[tuple[Tensor, ...]]) -> Tensor:
    """Apply L-BFGS's inverse Hessian, whose inner matrix has already been applied to gradient and history."""
    left, result, shares = gradient, inner, []
    for moved, turned, turned_inner, inverse in reversed(history):
        share = (inverse * (moved * left).sum(1))[:, None]
        left, result = left - share * turned, result - share * turned_inner
        shares.append(share)
    for (moved, turned, _, inverse), share in zip(history, reversed(shares), strict=True):
        result = result + (share - (inverse * (turned * result).sum(1))[:, None]) * moved
    return result
