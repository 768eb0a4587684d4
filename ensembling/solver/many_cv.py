"""Choice of the penalty of a logistic regression of many classes, by cross-validation."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ensembling.solver.fit import Problem, not_converged
from ensembling.solver.many import TOLERANCE, minimise_many

# nats by which a fold's solution may be above the lowest, and a single fold's: a held-out NLL is far less certain
CV_TOLERANCE, SINGLE_TOLERANCE = 1e-5, 1e-4
# samples x features x classes beyond which a single fold is held out: all folds would take minutes
ALL_FOLDS = 5e8


def fit_many_cv(
    problem: Problem, grid: Sequence[float], slices: Sequence[slice], max_iterations: int, notes: list[str]
) -> tuple[Tensor, int, Tensor]:
    """Choose C by the NLL of held-out folds, and fit all samples with it.

    Each fold is fitted with the strongest penalty first, and each fit begins where the one before ended. The weakest
    penalties take most of the time and are seldom the best: none is tried after the NLL has risen.

    Args:
        problem: all samples, those of a fold side by side
        grid: values of C, ascending
        slices: where each fold's samples are
        max_iterations: of each fit
        notes: what has been left out is appended

    Returns:
        solution `(class, axis + 1)`, number of the chosen C, and the held-out NLL of each C; infinite where it was not
        tried or a fit did not converge

    Raises:
        ValueError: no fit converged
    """
    tolerance = CV_TOLERANCE
    if len(problem.classes) < 2:
        slices = []
    elif len(slices) > 1 and problem.whitened.x.numel() * len(problem.classes) > ALL_FOLDS:
        slices, tolerance = slices[:1], SINGLE_TOLERANCE
        notes.append(
            f"C was chosen on one held-out fold, not on all: {len(problem.labels):,} samples of "
            f"{len(problem.classes):,} classes are many"
        )
    scores = torch.full((len(grid),), torch.inf, dtype=torch.float64)
    solutions: list[Tensor | None] = [None] * len(slices)
    starts: list[Tensor | None] = []
    for number, C in enumerate(grid):
        tried = _held_out(problem, C, slices, solutions, tolerance, max_iterations)
        if tried is None:
            # a weaker penalty is harder still
            notes.append(f"C = {C:.4g} and above left out: {not_converged(max_iterations)}")
            break
        solutions, scores[number] = tried
        # in the precision that a fit begins in, and half as large
        starts.append(solutions[0].float() if solutions and solutions[0] is not None else None)
        if number and not scores[number] < scores[:number].min():
            break
    for number in scores.argsort()[: len(starts)].tolist():
        objective = problem.many_classes(problem.ridge([grid[number]], len(problem.labels))[0])
        first, start = objective.start(), starts[number]
        if start is not None:
            # a class without a sample outside the first fold has learnt nothing there
            missing = torch.bincount(problem.labels[slices[0].stop :], minlength=len(first)) == 0
            first = first.where(missing[:, None], start.to(first))
        solution, converged = minimise_many(objective, first, TOLERANCE, max_iterations)
        if converged:
            return solution, number, scores
        notes.append(f"C = {grid[number]:.4g} left out: {not_converged(max_iterations)}")
    raise ValueError(not_converged(max_iterations))


def _held_out(
    problem: Problem,
    C: float,
    slices: Sequence[slice],
    starts: Sequence[Tensor | None],
    tolerance: float,
    max_iterations: int,
) -> tuple[list[Tensor | None], float] | None:
    """Solve without each fold; return the solutions and the mean held-out NLL, or None where one did not converge."""
    solutions: list[Tensor | None] = []
    total = 0.0
    for held, start in zip(slices, starts, strict=True):
        count = len(problem.labels) - (held.stop - held.start)
        objective = problem.many_classes(problem.ridge([C], count)[0], held)
        first = objective.start() if start is None else start
        solution, converged = minimise_many(objective, first, tolerance, max_iterations)
        if not converged:
            return None
        solutions.append(solution)
        total += _nll(problem, solution, held, objective.counts > 0)
    return solutions, total / max(sum(held.stop - held.start for held in slices), 1)


def _nll(problem: Problem, solution: Tensor, held: slice, learnt: Tensor) -> float:
    """Sum the NLL of held-out samples, but for those of a class that was not there to learn."""
    labels = problem.labels[held]
    known = learnt[labels]
    x, labels = problem.whitened.x[held][known], labels[known]
    log_p = (x[:, : solution.shape[1]] @ solution.to(x.dtype).T).log_softmax(1)
    nll = -float(log_p.gather(1, labels[:, None]).sum(dtype=torch.float64))
    return nll if math.isfinite(nll) else math.inf
