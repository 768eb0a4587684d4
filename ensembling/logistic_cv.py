"""Choice of the penalty of a logistic regression by cross-validation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ensembling.logistic_fit import REFRESH, TOLERANCE, Problem, solve
from ensembling.logistic_solver import Objective, Preconditioner, by_hessian, diagonal_bound, minimise, padded

# shares of the objective by which it may still fall: of a fold's solution, and of where it begins
CV_TOLERANCE, ROUGH_TOLERANCE = 1e-7, 1e-5
# gradients before the next Hessian on the way there
PATH_REFRESH = 3
# single precision is for what takes long, and is given up where it does not converge within so many gradients
LARGE, SINGLE_LIMIT = 5000, 40


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
    problem = Problem.of(features.detach().cpu()[order], labels.cpu()[order], num_classes)
    path, hessians = _path(problem, grid, max_iterations)
    scores = torch.zeros(len(grid), dtype=torch.float64)
    if len(problem.classes) > 1:
        fits = _Folds(problem, grid, _slices(folds), path, hessians)
        for fold in range(len(fits.slices)):
            scores += fits.held_out(fold, max_iterations)
    chosen = int(scores.argmin())
    solution, _ = solve(
        problem.objective([grid[chosen]]), path[chosen : chosen + 1], hessians[chosen], TOLERANCE, max_iterations
    )
    return *problem.original(solution[0]), grid[chosen], scores / len(folds)


def _kinds(count: int) -> list[torch.dtype]:
    return [torch.float32, torch.float64] if count >= LARGE else [torch.float64]


def _slices(folds: Tensor) -> list[slice]:
    ends = torch.bincount(folds).cumsum(0).tolist()
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def _path(problem: Problem, grid: list[float], max_iterations: int) -> tuple[Tensor, list[Tensor | None]]:
    """Fit all samples for each C; return solutions `(C, parameter)` and the Hessian that served each."""
    width = len(problem.classes) * problem.whitened.x.shape[1]
    solution, hessian = torch.zeros(1, width, dtype=torch.float64), None
    solutions, hessians = [], []
    # where the folds' fits begin, and no more: single precision will do
    objectives = [problem.objective(grid, kind) for kind in _kinds(len(problem.labels))]
    for number in range(len(grid)):
        for objective in objectives:
            last = objective is objectives[-1]
            limit = max_iterations if last else min(SINGLE_LIMIT, max_iterations)
            try:
                solution, hessian = solve(
                    objective.only(number), solution, hessian, ROUGH_TOLERANCE, limit, PATH_REFRESH
                )
                break
            except ValueError:
                if last:
                    raise
        solutions.append(solution)
        hessians.append(hessian)
    return torch.cat(solutions), hessians


class _Folds:
    """Fits of all samples but one fold's, for all C at once.

    Args:
        problem: all samples, those of a fold side by side
        grid: values of C
        slices: where each fold's samples are
        path: solutions of all samples `(C, parameter)`
        hessians: theirs; None where they would be too large
    """

    def __init__(
        self, problem: Problem, grid: list[float], slices: list[slice], path: Tensor, hessians: list[Tensor | None]
    ) -> None:
        self.problem, self.grid, self.slices, self.path = problem, grid, slices, path
        self.x, self.y = problem.whitened.x, problem.labels
        self.single = padded(self.x.to(_kinds(len(self.y))[0]))
        self.numbers = torch.arange(len(grid))
        known = [hessian for hessian in hessians if hessian is not None]
        self.hessians = torch.stack(known) if len(known) == len(grid) else None
        # folds are about the same size: one factorisation serves all
        ridge = problem.ridge(grid, len(self.y) * (1 - 1 / len(slices)))
        self.inner = self._inner(ridge, torch.arange(len(problem.classes)))
        # each sample's part in the gradients at the start is computed once for all folds
        parts = [[(self.single[held], self.y[held])] for held in slices]
        self.sums = [Objective(part, len(problem.classes), ridge).summed(path) for part in parts]

    def _inner(self, ridge: Tensor, classes: Tensor) -> Preconditioner | None:
        if self.hessians is None:
            return None
        hessians = self.hessians
        if len(classes) < len(self.problem.classes):
            kept = self._parameters(classes)
            hessians = hessians[:, kept][:, :, kept]
        return by_hessian(hessians, ridge, len(classes), torch.float32)

    def _parameters(self, classes: Tensor) -> Tensor:
        width = self.x.shape[1]
        return (classes[:, None] * width + torch.arange(width)).flatten()

    def held_out(self, fold: int, max_iterations: int) -> Tensor:
        """Solve without a fold; return the sum of its samples' NLL for each C."""
        held, total = self.slices[fold], len(self.problem.classes)
        others = [slice(0, held.start), slice(held.stop, len(self.y))]
        present = torch.unique(torch.cat([self.y[part] for part in others]))
        if len(present) < 2:
            # nothing to learn, whatever C is
            return torch.zeros(len(self.grid), dtype=torch.float64)
        numbering = torch.full((total,), -1).index_copy(0, present, torch.arange(len(present)))
        labels = [numbering[self.y[part]] for part in others]
        ridge = self.problem.ridge(self.grid, sum(len(y) for y in labels))
        pieces = [(self.single[part], y) for part, y in zip(others, labels, strict=True)]
        objective = Objective(pieces, len(present), ridge)
        start, first, inner = self.path[:, self._parameters(present)], None, self.inner
        if len(present) == total:
            loss, gradient = (sum(parts) - parts[fold] for parts in zip(*self.sums, strict=True))
            first = objective.penalised(loss, gradient, start, torch.arange(len(self.grid)))
        else:
            inner = self._inner(ridge, present)
        solutions, converged, _ = minimise(
            objective,
            start,
            inner or diagonal_bound(objective),
            CV_TOLERANCE,
            REFRESH if inner else max_iterations,
            first,
        )
        if not converged.all():
            pieces = [(self.x[part], y) for part, y in zip(others, labels, strict=True)]
            exact = Objective(pieces, len(present), ridge)
            for number in (~converged).nonzero().flatten().tolist():
                begin = solutions[number : number + 1]
                solutions[number] = solve(exact.only(number), begin, None, CV_TOLERANCE, max_iterations)[0][0]
        return _nll(solutions, self.x[held], numbering[self.y[held]], len(present))


def _nll(solutions: Tensor, x: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Sum the NLL of samples for each C, but for those of a class that was not there to learn."""
    known = labels >= 0
    logits = solutions.view(-1, x.shape[1]) @ x[known].T
    log_p = logits.view(len(solutions), num_classes, -1).log_softmax(1)
    return -log_p.gather(1, labels[known].expand(len(solutions), 1, -1)).sum((1, 2))
