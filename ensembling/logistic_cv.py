"""Choice of the penalty of a logistic regression by cross-validation."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ensembling.logistic_fit import REFRESH, TOLERANCE, Problem, solve
from ensembling.logistic_objective import Joint, Objective, joined, padded
from ensembling.logistic_solver import Minimum, by_factors, diagonal_bound, factorise, minimise

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
        scores = _Folds(problem, grid, _slices(folds), path, hessians).held_out(max_iterations)
    chosen = int(scores.argmin())
    found, _ = solve(
        problem.objective([grid[chosen]]), path[chosen : chosen + 1], hessians[chosen], TOLERANCE, max_iterations
    )
    return *problem.original(found.solution[0]), grid[chosen], scores / len(folds)


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
    found: Minimum | None = None
    source: Objective | None = None
    for number in range(len(grid)):
        for objective in objectives:
            last = objective is objectives[-1]
            limit = max_iterations if last else min(SINGLE_LIMIT, max_iterations)
            this, first = objective.only([number]), None
            if found and source is objective:
                first = this.after(found.known, solution, objective.ridge[number - 1 : number])
            try:
                found, hessian = solve(this, solution, hessian, ROUGH_TOLERANCE, limit, PATH_REFRESH, first)
                solution, source = found.solution, objective
                break
            except ValueError:
                if last:
                    raise
        solutions.append(solution)
        hessians.append(hessian)
    return torch.cat(solutions), hessians


class _Folds:
    """Fits of all samples but one fold's, for all C at once.

    Where the penalty is so weak that the solution hardly depends on it, one C leads and others follow: they begin at
    its solution, where their gradients are known without a look at the samples, and mostly end there.

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
        self.problem, self.grid, self.slices = problem, grid, slices
        self.x, self.y = problem.whitened.x, problem.labels
        self.single = padded(self.x.to(_kinds(len(self.y))[0]))
        # folds are about the same size: one factorisation serves all
        self.ridge = problem.ridge(grid, len(self.y) * (1 - 1 / len(slices)))
        self.hessians = dict(enumerate(hessian for hessian in hessians if hessian is not None))
        self.leader, self.factors = self._leaders(path)
        self.leaders = sorted(set(self.leader))
        self.followers = [number for number, leader in enumerate(self.leader) if leader != number]
        self.start = path[self.leaders]
        # each sample's part in the gradients at the start is computed once for all folds
        parts = [[(self.single[held], self.y[held])] for held in slices]
        self.sums = [Objective(part, len(problem.classes), self.ridge).summed(self.start) for part in parts]

    def _leaders(self, path: Tensor) -> tuple[list[int], dict[int, Tensor]]:
        """Return the leader of each C, and the factors of the leaders' Hessians, if there are any."""
        if len(self.hessians) < len(self.grid):
            return list(range(len(self.grid))), {}
        num_classes = len(self.problem.classes)
        leader: list[int] = []
        factors: dict[int, Tensor] = {}
        for number in reversed(range(len(self.grid))):
            if leader:
                now = leader[-1]
                change = (path[now].view(num_classes, -1) * (self.ridge[number] - self.ridge[now])).view(1, -1)
                step = by_factors([factors[now]])(change, torch.zeros(1, dtype=torch.int64))
                if 0.5 * float((change * step).sum()) <= CV_TOLERANCE:
                    leader.append(now)
                    continue
            factors[number] = factorise(self.hessians[number], self.ridge[number], num_classes, torch.float32)
            leader.append(number)
        return leader[::-1], factors

    def _factors_of(self, classes: Tensor) -> dict[int, Tensor]:
        """Return the leaders' factors for a fold's samples, of which some classes may be missing."""
        if len(classes) == len(self.problem.classes) or not self.factors:
            return self.factors
        kept = self._parameters(classes)
        return {
            number: factorise(self.hessians[number][kept][:, kept], self.ridge[number], len(classes), torch.float32)
            for number in self.leaders
        }

    def _parameters(self, classes: Tensor) -> Tensor:
        width = self.x.shape[1]
        return (classes[:, None] * width + torch.arange(width)).flatten()

    def held_out(self, max_iterations: int) -> Tensor:
        """Solve without each fold; return the sum of all held-out samples' NLL for each C."""
        # those with the same classes are solved together
        groups: dict[tuple[int, ...], list[int]] = {}
        for fold, held in enumerate(self.slices):
            present = torch.unique(torch.cat([self.y[: held.start], self.y[held.stop :]]))
            groups.setdefault(tuple(present.tolist()), []).append(fold)
        scores = torch.zeros(len(self.grid), dtype=torch.float64)
        for classes, group in groups.items():
            # without two classes there is nothing to learn, whatever C is
            if len(classes) < 2:
                continue
            # what is too large for a Hessian is large beside four others too
            for together in [group] if self.factors else [[fold] for fold in group]:
                scores += self._held_out(together, torch.tensor(classes), max_iterations)
        return scores

    def _held_out(self, group: list[int], present: Tensor, max_iterations: int) -> Tensor:
        numbering = torch.full((len(self.problem.classes),), -1)
        labels = numbering.index_copy(0, present, torch.arange(len(present)))[self.y]
        objectives = [self._objective(fold, labels, len(present), self.single) for fold in group]
        solutions, converged = self._solve(objectives, group, present, max_iterations)
        scores = torch.zeros(len(self.grid), dtype=torch.float64)
        for fold, solution, done in zip(group, solutions, converged, strict=True):
            if not done.all():
                exact = self._objective(fold, labels, len(present), self.x)
                for number in (~done).nonzero().flatten().tolist():
                    begin = solution[number : number + 1]
                    found, _ = solve(exact.only([number]), begin, None, CV_TOLERANCE, max_iterations)
                    solution[number] = found.solution[0]
            held = self.slices[fold]
            scores += _nll(solution, self.x[held], labels[held], len(present))
        return scores

    def _objective(self, fold: int, labels: Tensor, num_classes: int, x: Tensor) -> Objective:
        """Return the objectives of all C over all samples but a fold's."""
        held = self.slices[fold]
        parts = [(x[part], labels[part]) for part in (slice(0, held.start), slice(held.stop, len(labels)))]
        return Objective(parts, num_classes, self.problem.ridge(self.grid, sum(len(y) for _, y in parts)))

    def _solve(
        self, objectives: list[Objective], group: list[int], present: Tensor, max_iterations: int
    ) -> tuple[Tensor, Tensor]:
        """Return solutions `(fold, C, parameter)`, and which of them converged `(fold, C)`."""
        factors, first, size = self._factors_of(present), None, len(group)
        leading = [objective.only(self.leaders) for objective in objectives]
        start = self.start[:, self._parameters(present)]
        if len(present) == len(self.problem.classes):
            every = torch.arange(len(start))
            loss, gradient = (sum(parts) for parts in zip(*self.sums, strict=True))
            first = joined(
                [
                    objective.penalised(loss - self.sums[fold][0], gradient - self.sums[fold][1], start, every)
                    for fold, objective in zip(group, leading, strict=True)
                ]
            )
        inner = by_factors([factors[n] for n in self.leaders] * size) if factors else diagonal_bound(leading)
        limit = REFRESH if factors else max_iterations
        found = minimise(Joint(leading), start.repeat(size, 1), inner, CV_TOLERANCE, limit, first)
        # of each C
        place = [self.leaders.index(leader) for leader in self.leader]
        solutions = found.solution.view(size, len(start), -1)[:, place]
        converged = found.converged.view(size, -1)[:, place]
        if self.followers:
            rest = self._follow(objectives, found, factors)
            solutions[:, self.followers] = rest.solution.view(size, len(self.followers), -1)
            converged[:, self.followers] = rest.converged.view(size, -1)
        return solutions, converged

    def _follow(self, objectives: list[Objective], found: Minimum, factors: dict[int, Tensor]) -> Minimum:
        """Solve for the followers, from where their leaders ended."""
        size, count = len(objectives), len(self.leaders)
        led = [self.leader[number] for number in self.followers]
        rows = [fold * count + self.leaders.index(leader) for fold in range(size) for leader in led]
        start = found.solution[rows]
        values, gradients, noise = (part[rows].view(size, len(led), *part.shape[1:]) for part in found.known)
        known = [
            objective.only(self.followers).after((value, gradient, error), begin, objective.ridge[led])
            for objective, value, gradient, error, begin in zip(
                objectives, values, gradients, noise, start.view(size, len(led), -1), strict=True
            )
        ]
        following = Joint([objective.only(self.followers) for objective in objectives])
        inner = by_factors([factors[leader] for leader in led] * size)
        return minimise(following, start, inner, CV_TOLERANCE, REFRESH, joined(known))


def _nll(solutions: Tensor, x: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Sum the NLL of samples for each C, but for those of a class that was not there to learn."""
    known = labels >= 0
    logits = solutions.view(-1, x.shape[1]) @ x[known].T
    log_p = logits.view(len(solutions), num_classes, -1).log_softmax(1)
    return -log_p.gather(1, labels[known].expand(len(solutions), 1, -1)).sum((1, 2))
