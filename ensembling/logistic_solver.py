"""Solver of multinomial logistic regression: many penalties at once, over few gradients.

Steps are L-BFGS's, on top of a Hessian that need only be roughly right and is therefore taken from few samples, in
single precision, and kept for as long as it serves; gradients and the test of convergence are in double precision, over
all samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ensembling.logistic_objective import Joint, Known, Objective

# parameters beyond which a Hessian costs more than it saves
LARGEST_HESSIAN = 2000
# pairs of steps and gradients that L-BFGS remembers
MEMORY = 8
# steps that may be too long, in all
BACKTRACKS = 40
# mean cross-entropy of which nobody asks how it is divided, as where classes are separated
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


def factorise(hessian: Tensor, ridge: Tensor, num_classes: int, kind: torch.dtype) -> Tensor:
    """Factorise a Hessian of the mean cross-entropy with a penalty.

    Args:
        hessian: shape `(parameter, parameter)`
        ridge: half-penalties, shape `(axis + 1,)`
        num_classes: number of classes
        kind: single precision takes half the time, and is no worse than a Hessian of few samples

    Returns:
        lower Cholesky factor, shape `(parameter, parameter)`
    """
    width = len(ridge)
    full = hessian.to(kind, copy=True)
    full.diagonal().add_(ridge.repeat(num_classes))
    # adding the same weights to all classes changes no probability, and no solution does: any curvature there makes
    # the matrix regular
    full.view(num_classes, width, num_classes, width).diagonal(dim1=1, dim2=3).add_(1 / num_classes**2)
    # single precision can leave a matrix slightly indefinite
    scale, jitter = float(full.diagonal().mean()), 0.0
    factor, failed = torch.linalg.cholesky_ex(full)
    while failed:
        jitter = max(10 * jitter, 1e-8)
        full.diagonal().add_(jitter * scale)
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
        steps = torch.empty_like(gradient)
        for name, rows in places.items():
            steps[rows] = torch.cholesky_solve(gradient[rows].T.to(known[name].dtype), known[name]).T.double()
        return steps

    return precondition


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
    alive = torch.arange(len(start))
    w = start
    value, gradient, noise = objective(w, alive) if first is None else first
    best, converged = start.clone(), torch.zeros(len(start), dtype=torch.bool)
    known = (value.clone(), gradient.clone(), noise.clone())

    def keep(which: Tensor) -> None:
        for kept, part in zip((best, *known), (w, value, gradient, noise), strict=True):
            kept[alive[which]] = part[which]

    inner = precondition(gradient, alive)
    step = -inner
    length = torch.ones(len(start), dtype=torch.float64)
    history: list[tuple[Tensor, ...]] = []
    steps = evaluations = 0
    while True:
        slope = (gradient * step).sum(1)
        done = -0.5 * slope <= tolerance * (value + ALMOST_NOTHING) + 0.1 * noise
        if done.any():
            keep(done)
            converged[alive[done]] = True
            rest = ~done
            alive, w, value, gradient, noise, inner, step, length, slope = (
                part[rest] for part in (alive, w, value, gradient, noise, inner, step, length, slope)
            )
            history = [tuple(part[rest] for part in pair) for pair in history]
        if not len(alive) or steps == iterations or evaluations == iterations + BACKTRACKS:
            keep(torch.ones(len(alive), dtype=torch.bool))
            return Minimum(best, converged, known, evaluations)
        trial = w + length[:, None] * step
        new_value, new_gradient, new_noise = objective(trial, alive)
        evaluations += 1
        good = new_value <= value + 1e-4 * length * slope + new_noise
        taken = good[:, None]
        new_inner = precondition(new_gradient, alive)
        # a pair of no step has no say
        moved, turned = (trial - w) * taken, (new_gradient - gradient) * taken
        bend = (moved * turned).sum(1)
        good_bend = bend > 1e-10 * moved.norm(dim=1) * turned.norm(dim=1)
        inverse = torch.where(good_bend, 1 / bend, 0.0)
        history = [*history, (moved, turned, (new_inner - inner) * taken, inverse)][-MEMORY:]
        w, gradient, inner = (
            torch.where(taken, new, old) for new, old in ((trial, w), (new_gradient, gradient), (new_inner, inner))
        )
        value, noise = torch.where(good, new_value, value), torch.where(good, new_noise, noise)
        length = torch.where(good, 1.0, 0.3 * length)
        step = torch.where(taken, -_two_loops(gradient, inner, history), step)
        # uphill by rounding errors
        uphill = (gradient * step).sum(1) >= 0
        step = torch.where(uphill[:, None], -inner, step)
        steps += bool(good.any())


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
