"""Solver of multinomial logistic regression: many penalties at once, over few gradients.

The objective is scikit-learn's, `C * sum of cross-entropies + |weight|^2 / 2` with free biases, here divided by
`C * samples`. Features are rotated to their principal axes and scaled to unit variance, which leaves the penalty
diagonal and the optimum where it is. Steps are L-BFGS's, on top of a Hessian that need only be roughly right and is
therefore taken from few samples, in single precision, and kept for as long as it serves; gradients and the test of
convergence are in double precision, over all samples.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

# parameters beyond which a Hessian costs more than it saves
LARGEST_HESSIAN = 2000
# samples that a Hessian is taken from: at least so many, and so many a parameter
LEAST_SAMPLES, SAMPLES_A_PARAMETER = 4000, 8
# columns of features come in multiples of this, the last ones empty: products over samples are faster then
LANES = 16
# numbers worked on at once: bounds the memory, and is enough for several threads
BLOCK = 2**20
# pairs of steps and gradients that L-BFGS remembers
MEMORY = 8
# steps that may be too long, in all
BACKTRACKS = 40
# mean cross-entropy of which nobody asks how it is divided, as where classes are separated
ALMOST_NOTHING = 1e-3
# axes with less than this share of the largest variance carry nothing
NULL_VARIANCE = 1e-13

# maps gradients (problem, parameter) of the problems with these numbers to steps
Preconditioner = Callable[[Tensor, Tensor], Tensor]


@dataclass(eq=False)
class Whitened:
    """Features on their principal axes with unit variance, and a last column of ones.

    Attributes:
        x: float64, shape `(sample, axis + 1)`
        penalty: of the square of each axis's weight, 0 for the last, shape `(axis + 1,)`
        mean: of the original features, shape `(feature,)`
        basis: from weights of axes to those of features, shape `(feature, axis)`
    """

    x: Tensor
    penalty: Tensor
    mean: Tensor
    basis: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Whitened":
        """Rotate and scale features `(sample, feature)`."""
        mean = features.mean(0)
        centred = features - mean
        variance, axes = torch.linalg.eigh(centred.T @ centred / len(features))
        # a constant feature has no more than the rounding error of its mean
        kept = variance > (NULL_VARIANCE * variance[-1:]).clamp(min=1e-24 * (1 + float(mean.abs().max())) ** 2)
        basis = axes[:, kept] / variance[kept].sqrt()
        x = torch.empty(len(features), basis.shape[1] + 1, dtype=torch.float64)
        torch.mm(centred, basis, out=x[:, :-1])
        x[:, -1] = 1
        penalty = torch.cat([1 / variance[kept], torch.zeros(1, dtype=torch.float64)])
        return cls(x, penalty, mean, basis)

    def original(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight `(class, feature)` and bias `(class,)` of a solution `(class, axis + 1)`."""
        weight = solution[:, :-1] @ self.basis.T
        return weight, solution[:, -1] - weight @ self.mean


class Objective:
    """Objectives of several penalties over the same samples.

    Args:
        parts: features `(sample, axis + 1)`, perhaps `padded`, and labels `(sample,)`, in any number of pieces
        num_classes: number of classes, each with a sample
        ridge: half-penalties of squares, shape `(problem, axis + 1)`
    """

    def __init__(self, parts: Sequence[tuple[Tensor, Tensor]], num_classes: int, ridge: Tensor) -> None:
        self.parts, self.classes, self.ridge = parts, num_classes, ridge
        self.count = sum(len(x) for x, _ in parts)
        self.width = ridge.shape[1]
        # sums of each class's features: the part of the gradient that stays
        self.sums = torch.zeros(num_classes, self.width, dtype=torch.float64)
        for x, y in parts:
            self.sums.index_add_(0, y, x[:, : self.width].double())
        self.noise = 1e-14 if parts[0][0].dtype == torch.float64 else 1e-7

    def only(self, number: int) -> "Objective":
        """Return the objective of one of the penalties."""
        one = copy.copy(self)
        one.ridge = self.ridge[number : number + 1]
        return one

    def __call__(self, flat: Tensor, problems: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute values and gradients.

        Args:
            flat: parameters, shape `(problem, class * (axis + 1))`
            problems: their numbers, shape `(problem,)`

        Returns:
            values `(problem,)`, gradients `(problem, parameter)` and the rounding error of the values `(problem,)`
        """
        return self.penalised(*self.summed(flat), flat, problems)

    def summed(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sums of cross-entropies but for what `sums` holds `(problem,)`, and of their gradients."""
        size, width = len(flat), self.width
        loss = torch.zeros(size, dtype=torch.float64)
        like = self.parts[0][0]
        gradient = torch.zeros(size * self.classes, like.shape[1], dtype=torch.float64)
        w = functional.pad(flat.view(size * self.classes, width).to(like.dtype), (0, like.shape[1] - width))
        rows = max(BLOCK // max(size * self.classes, width), 64)
        for whole, _ in self.parts:
            for x in whole.split(rows):
                # classes before samples: reductions over classes then run along whole vectors
                p = (w @ x.T).view(size, self.classes, len(x))
                top = p.amax(1, keepdim=True)
                p.sub_(top).exp_()
                total = p.sum(1, keepdim=True)
                p.div_(total)
                loss += total.log_().add_(top).sum((1, 2))
                gradient += p.view(size * self.classes, len(x)) @ x
        return loss, gradient.view(size, self.classes, -1)[:, :, :width]

    def penalised(
        self, loss: Tensor, gradient: Tensor, flat: Tensor, problems: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Finish what `summed` began; see `__call__`."""
        w = flat.view_as(gradient)
        penalised = w * self.ridge[problems][:, None]
        value = (loss - (w * self.sums).sum((1, 2))) / self.count + 0.5 * (penalised * w).sum((1, 2))
        slope = (gradient - self.sums) / self.count + penalised
        return value, slope.flatten(1), self.noise * (loss.abs() / self.count + 1)

    def hessian(self, flat: Tensor, kind: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
        """Estimate the Hessian of the mean cross-entropy from samples that matter most to it.

        A sample is drawn with a probability proportional to `1 - sum(p^2)`, its share in the Hessian's trace, and
        weighted by its inverse.

        Args:
            flat: parameters of one problem, shape `(parameter,)`
            kind: double precision is for curvatures of very different sizes
            seed: names the draw

        Returns:
            float64, shape `(parameter, parameter)`
        """
        w = flat.view(self.classes, self.width).to(kind)
        size = max(LEAST_SAMPLES, SAMPLES_A_PARAMETER * w.numel())
        x = torch.cat([x[:, : self.width].to(kind) for x, _ in self.parts]).T
        p = (w @ x).softmax(0)
        root = torch.ones(1, dtype=kind)
        if self.count > size:
            drawn, chance = self._draw(p, size, seed)
            x, p, root = x[:, drawn], p[:, drawn], chance[drawn].rsqrt().to(kind)
        # parameters are class after class
        pairs = ((p * root)[:, None] * x).flatten(0, 1)
        own = (pairs @ (x * root).T).view(self.classes, self.width, self.width)
        hessian = -(pairs @ pairs.T)
        blocks = hessian.view(self.classes, self.width, self.classes, self.width)
        blocks.diagonal(dim1=0, dim2=2).add_(own.permute(1, 2, 0))
        return hessian.double() / self.count

    @staticmethod
    def _draw(p: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
        spread = (1 - p.square().sum(0)).clamp(min=1e-12).double()
        chance = (spread * (size / spread.sum())).clamp(max=1)
        start = torch.rand(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        steps = (chance.cumsum(0) + start).floor()
        return steps.diff(prepend=start.floor()) > 0, chance


def padded(x: Tensor) -> Tensor:
    """Append empty columns to features `(sample, axis + 1)`."""
    return functional.pad(x, (0, -x.shape[1] % LANES))


def diagonal_bound(objective: Objective) -> Preconditioner:
    """Precondition by the Hessian at equal probabilities, which is diagonal on the principal axes.

    Twice it bounds every Hessian: Boehning, Multinomial logistic regression algorithm, 1992.
    """
    diagonal = (1 / objective.classes + objective.ridge).repeat(1, objective.classes)
    return lambda gradient, problems: gradient / diagonal[problems]


def by_hessian(hessians: Tensor, ridge: Tensor, num_classes: int, kind: torch.dtype = torch.float64) -> Preconditioner:
    """Precondition by Hessians of the mean cross-entropy.

    Args:
        hessians: shape `(problem, parameter, parameter)`
        ridge: shape `(problem, axis + 1)`
        num_classes: number of classes
        kind: single precision takes half the time, and is no worse than a Hessian of few samples
    """
    size, width = ridge.shape
    full = hessians.to(kind, copy=True)
    full.diagonal(dim1=1, dim2=2).add_(ridge.repeat(1, num_classes))
    # adding the same weights to all classes changes no probability, and no solution does: any curvature there makes
    # the matrix regular
    full.view(size, num_classes, width, num_classes, width).diagonal(dim1=2, dim2=4).add_(1 / num_classes**2)
    # single precision can leave a matrix slightly indefinite
    scale, jitter = full.diagonal(dim1=1, dim2=2).mean(1), 0.0
    factor, failed = torch.linalg.cholesky_ex(full)
    while failed.any():
        jitter = max(10 * jitter, 1e-8)
        full.diagonal(dim1=1, dim2=2).add_((jitter * scale * (failed > 0))[:, None])
        factor, failed = torch.linalg.cholesky_ex(full)
    factors = factor.unbind()

    def precondition(gradient: Tensor, problems: Tensor) -> Tensor:
        # one by one: gathering the factors of some would cost more than solving with them
        pairs = zip(gradient.to(kind), problems.tolist(), strict=True)
        return torch.stack([torch.cholesky_solve(g[:, None], factors[n])[:, 0] for g, n in pairs]).double()

    return precondition


def minimise(
    objective: Objective,
    start: Tensor,
    precondition: Preconditioner,
    tolerance: float,
    iterations: int,
    first: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, int]:
    """Run preconditioned L-BFGS on several problems at once, each with its own step length.

    Args:
        objective: values and gradients
        start: shape `(problem, parameter)`
        precondition: approximate inverse Hessians
        tolerance: share of the value by which it may still fall, as estimated by half the Newton decrement
        iterations: steps at most, not counting those that were too long
        first: what the objective gives at the start, if that is known

    Returns:
        parameters `(problem, parameter)`, which of the problems converged `(problem,)`, and evaluations
    """
    best = start.clone()
    converged = torch.zeros(len(start), dtype=torch.bool)
    alive = torch.arange(len(start))
    w = start
    value, gradient, noise = objective(w, alive) if first is None else first
    inner = precondition(gradient, alive)
    step = -inner
    length = torch.ones(len(start), dtype=torch.float64)
    history: list[tuple[Tensor, ...]] = []
    steps = 0
    for evaluations in range(1, iterations + BACKTRACKS + 1):
        slope = (gradient * step).sum(1)
        done = -0.5 * slope <= tolerance * (value + ALMOST_NOTHING) + 0.1 * noise
        if done.any():
            best[alive[done]], converged[alive[done]] = w[done], True
            if done.all():
                return best, converged, evaluations
            rest = ~done
            alive, w, value, gradient, noise, inner, step, length, slope = (
                part[rest] for part in (alive, w, value, gradient, noise, inner, step, length, slope)
            )
            history = [tuple(part[rest] for part in pair) for pair in history]
        trial = w + length[:, None] * step
        new_value, new_gradient, new_noise = objective(trial, alive)
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
        if steps == iterations:
            break
    best[alive] = w
    return best, converged, evaluations


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
