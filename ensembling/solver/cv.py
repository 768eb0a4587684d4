"""Choice of the penalty of a logistic regression by cross-validation."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ensembling.solver.fit import REFRESH, TOLERANCE, Curvature, Problem, not_converged, solve
from ensembling.solver.many_cv import fit_many_cv
from ensembling.solver.minimise import Minimum, by_factors, factorise, minimise
from ensembling.solver.objective import Joint, Objective, class_sums, joined

# shares of the objective by which it may still fall: of a fold's solution, and of where it begins
CV_TOLERANCE, ROUGH_TOLERANCE = 1e-7, 1e-5
# gradients before the next Hessian on the way there
PATH_REFRESH = 3
# gradients after which single precision is given up
SINGLE_LIMIT = 40


def fit_logistic_cv(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    Cs: Sequence[float],
    folds: Tensor,
    max_iterations: int = 1000,
    notes: list[str] | None = None,
) -> tuple[Tensor, Tensor, float, Tensor]:
    """Choose C by the NLL of held-out folds, and fit all samples with it.

    All samples are fitted first with the penalties of the folds' fits, from the strongest to the weakest, each fit
    beginning where the one before ended. The folds' fits, all penalties at once, then begin at those solutions with
    their Hessians, and are nearly there: they are still solved to convergence, so that nothing of a held-out sample is
    left in them.

    Args:
        features: shape `(sample, feature)`
        labels: int64, shape `(sample,)`
        num_classes: number of classes; see `fit_logistic`
        Cs: inverse strengths of the penalty to choose from
        folds: fold of each sample, from 0, shape `(sample,)`
        max_iterations: of the solver, for each fit
        notes: what has been left out, such as a C whose fits did not converge, is appended

    Returns:
        weight `(class, feature)`, bias `(class,)`, the chosen C, and the held-out NLL of each C in ascending order
        (samples of a class that the other folds do not have are left out); it is infinite for a C that was left out

    Raises:
        ValueError: no C converged, or features that are not finite
    """
    told = [] if notes is None else notes
    weight, bias, C, scores = _fit(features, labels, num_classes, sorted(Cs), folds, max_iterations, told)
    # what is made in inference mode could not be trained on
    return weight.clone(), bias.clone(), C, scores.clone()


# thousands of small operations: what autograd notes of each would take a tenth of the time
@torch.inference_mode()
def _fit(
    features: Tensor,
    labels: Tensor,
    num_classes: int,
    grid: list[float],
    folds: Tensor,
    max_iterations: int,
    notes: list[str],
) -> tuple[Tensor, Tensor, float, Tensor]:
    # each fold's samples side by side: the others are then two slices, and need no copy
    order = torch.sort(folds, stable=True).indices
    problem = Problem.of(features, labels, num_classes, order)
    slices = _slices(folds)
    if problem.many:
        solution, chosen, scores = fit_many_cv(problem, grid, slices, max_iterations, notes)
        return *problem.original(solution), grid[chosen], scores
    # folds are about the same size
    ridge = problem.ridge(grid, len(labels) * (1 - 1 / len(slices)))
    path, curvatures = _path(problem, ridge, max_iterations)
    scores = torch.zeros(len(grid), dtype=torch.float64)
    if len(problem.classes) > 1:
        scores = _Folds(problem, grid, slices, ridge, path, curvatures).held_out(max_iterations)
    for number in scores.argsort(stable=True).tolist():
        if scores[number].isfinite():
            objective = problem.objective(problem.ridge([grid[number]], len(labels)))
            start, hessian = path[number : number + 1], curvatures[number].hessian
            found, _ = solve(objective, start, hessian, TOLERANCE, max_iterations)
            if found.converged:
                notes.extend(left_out(grid, scores, max_iterations))
                return *problem.original(found.solution[0]), grid[number], scores / len(folds)
            scores[number] = torch.inf
    raise ValueError(not_converged(max_iterations))


def left_out(grid: list[float], scores: Tensor, max_iterations: int) -> list[str]:
    """Say which C were left out because their fits did not converge."""
    lost = [f"{C:.4g}" for C, score in zip(grid, scores.tolist(), strict=True) if math.isinf(score)]
    return [f"C = {', '.join(lost)} left out: {not_converged(max_iterations)}"] if lost else []


def _slices(folds: Tensor) -> list[slice]:
    ends = torch.bincount(folds).cumsum(0).tolist()
    return [slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False)]


def _path(problem: Problem, ridge: Tensor, max_iterations: int) -> tuple[Tensor, list[Curvature]]:
    """Fit all samples with each penalty; return solutions `(C, parameter)` and the curvature that served each.

    One that did not converge is good enough to start from.
    """
    width = len(problem.classes) * ridge.shape[1]
    solution, solutions = torch.zeros(1, width, dtype=torch.float64), []
    hessian: Tensor | None = None
    curvatures = []
    # these solutions are only where the folds' fits start, so the faster precision is enough if it converges
    kinds = list(dict.fromkeys([problem.fast.dtype, torch.float64]))
    objectives: dict[torch.dtype, Objective] = {}
    found: Minimum | None = None
    source: torch.dtype | None = None
    for number in range(len(ridge)):
        for kind in kinds:
            if kind not in objectives:
                objectives[kind] = problem.objective(ridge, kind)
            last = kind is kinds[-1]
            limit = max_iterations if last else min(SINGLE_LIMIT, max_iterations)
            this, first = objectives[kind].only([number]), None
            if found and source is kind:
                first = this.after(found.known, solution, ridge[number - 1 : number])
            ended, curvature = solve(this, solution, hessian, ROUGH_TOLERANCE, limit, PATH_REFRESH, first)
            if last or ended.converged:
                break
        found, source, hessian, solution = ended, kind, curvature.hessian, ended.solution
        solutions.append(solution)
        curvatures.append(curvature)
    return torch.cat(solutions), curvatures


class _Folds:
    """Fits of all samples but one fold's, for all C at once.

    Where the penalty is so weak that the solution hardly depends on it, one C leads and others follow: they begin at
    its solution, where their gradients are known without a look at the samples, and mostly end there.

    Args:
        problem: all samples, those of a fold side by side
        grid: values of C
        slices: where each fold's samples are
        ridge: half-penalties of a fold's fit `(C, axis + 1)`
        path: solutions of all samples `(C, parameter)` with them
        curvatures: theirs
    """

    def __init__(
        self,
        problem: Problem,
        grid: list[float],
        slices: list[slice],
        ridge: Tensor,
        path: Tensor,
        curvatures: list[Curvature],
    ) -> None:
        self.problem, self.grid, self.slices, self.ridge = problem, grid, slices, ridge
        self.x, self.y = problem.whitened.x, problem.labels
        # one factorisation serves all folds
        self.curvatures = curvatures
        self.leader = self._leaders(path)
        self.leaders = sorted(set(self.leader))
        self.followers = [number for number, leader in enumerate(self.leader) if leader != number]
        self.start = path[self.leaders]
        # each sample's part in the gradients is computed once for all folds: that which stays, and that at the start
        classes, fold = len(problem.classes), torch.repeat_interleave(torch.tensor([len(self.y[s]) for s in slices]))
        apart = class_sums(self.x, fold * classes + self.y, len(slices) * classes, ridge.shape[1])
        self.constant = apart.view(len(slices), classes, -1)
        held = [
            Objective([self.problem.fast[s]], classes, ridge, sums)
            for s, sums in zip(slices, self.constant, strict=True)
        ]
        self.sums = [objective.summed(self.start) for objective in held]

    def _leaders(self, path: Tensor) -> list[int]:
        """Return the leader of each C."""
        leader: list[int] = []
        for number in reversed(range(len(self.grid))):
            if leader:
                now = leader[-1]
                change = (path[now].view(-1, self.ridge.shape[1]) * (self.ridge[number] - self.ridge[now])).view(1, -1)
                step = by_factors([self.curvatures[now].factor])(change, torch.zeros(1, dtype=torch.int64))
                if 0.5 * float((change * step).sum()) <= CV_TOLERANCE:
                    leader.append(now)
                    continue
            leader.append(number)
        return leader[::-1]

    def _factors_of(self, classes: Tensor) -> dict[int, Tensor]:
        """Return the leaders' factors for a fold's samples; some classes may be missing there."""
        known = {number: self.curvatures[number] for number in self.leaders}
        if len(classes) == len(self.problem.classes):
            return {number: curvature.factor for number, curvature in known.items()}
        kept = self._parameters(classes)
        return {
            number: factorise(curvature.hessian[kept][:, kept], self.ridge[number], len(classes))
            for number, curvature in known.items()
        }

    def _parameters(self, classes: Tensor) -> Tensor:
        width = self.ridge.shape[1]
        return (classes[:, None] * width + torch.arange(width)).flatten()

    def held_out(self, max_iterations: int) -> Tensor:
        """Solve without each fold; return all held-out samples' summed NLL for each C, infinite where one fails."""
        # those with the same classes are solved together
        every, groups = torch.bincount(self.y), dict[tuple[int, ...], list[int]]()
        for fold, held in enumerate(self.slices):
            others = every - torch.bincount(self.y[held], minlength=len(every))
            groups.setdefault(tuple(others.nonzero().flatten().tolist()), []).append(fold)
        scores = torch.zeros(len(self.grid), dtype=torch.float64)
        for classes, group in groups.items():
            # without two classes there is nothing to learn, whatever C is
            if len(classes) < 2:
                continue
            scores += self._held_out(group, torch.tensor(classes), max_iterations)
        return scores

    def _held_out(self, group: list[int], present: Tensor, max_iterations: int) -> Tensor:
        numbering = torch.full((len(self.problem.classes),), -1)
        labels = numbering.index_copy(0, present, torch.arange(len(present)))[self.y]
        objectives = [self._objective(fold, present, self.problem.fast) for fold in group]
        solutions, converged = self._solve(objectives, group, present)
        scores = torch.zeros(len(self.grid), dtype=torch.float64)
        for fold, solution, done in zip(group, solutions, converged, strict=True):
            if not done.all():
                done = self._one_by_one(self._objective(fold, present, self.x), solution, done, max_iterations)
            held = self.slices[fold]
            scores += _nll(solution, self.problem.fast[held], labels[held], len(present)).where(done, torch.inf)
        return scores

    def _one_by_one(self, exact: Objective, solution: Tensor, done: Tensor, max_iterations: int) -> Tensor:
        """Solve for each C that the joint steps left, from the strongest penalty on; change the solutions in place.

        Returns:
            which have converged now, shape `(C,)`
        """
        done, curvature = done.clone(), None
        for number in (~done).nonzero().flatten().tolist():
            starts = [solution[number], *_foreseen(solution, self.grid, number)]
            value, gradient, noise = exact.only([number] * len(starts))(torch.stack(starts), torch.arange(len(starts)))
            best = [int(value.argmin())]
            found, curvature = solve(
                exact.only([number]),
                starts[best[0]][None],
                curvature.hessian if curvature else None,
                CV_TOLERANCE,
                max_iterations,
                first=(value[best], gradient[best], noise[best]),
            )
            solution[number], done[number] = found.solution[0], found.converged[0]
        return done

    def _objective(self, fold: int, present: Tensor, x: Tensor) -> Objective:
        """Return the objectives of all C over all samples but a fold's, which are of the present classes."""
        held = self.slices[fold]
        parts = [x[: held.start], x[held.stop :]]
        ridge = self.problem.ridge(self.grid, sum(map(len, parts)))
        return Objective(parts, len(present), ridge, (self.problem.sums - self.constant[fold])[present])

    def _solve(self, objectives: list[Objective], group: list[int], present: Tensor) -> tuple[Tensor, Tensor]:
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
        inner = by_factors([factors[n] for n in self.leaders] * size)
        found = minimise(Joint(leading), start.repeat(size, 1), inner, CV_TOLERANCE, REFRESH, first)
        # the row of each C's leader
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


def _foreseen(solutions: Tensor, grid: list[float], number: int) -> list[Tensor]:
    """Return where those of stronger penalties point to: weights of separable classes grow as log C does."""
    if number < 2:
        return list(solutions[:number])
    before, last, now = (math.log(C) for C in grid[number - 2 : number + 1])
    ahead = (now - last) / (last - before)
    return [solutions[number - 1], torch.lerp(solutions[number - 2], solutions[number - 1], 1 + ahead)]


def _nll(solutions: Tensor, x: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Sum the NLL of samples for each C, but for those of a class that was not there to learn."""
    known = labels >= 0
    if not known.all():
        x, labels = x[known], labels[known]
    w = solutions.view(len(solutions) * num_classes, -1).to(x.dtype)
    log_p = (w @ x[:, : w.shape[1]].T).view(len(solutions), num_classes, -1).log_softmax(1)
    return -log_p.gather(1, labels.expand(len(solutions), 1, -1)).sum((1, 2), dtype=torch.float64)
