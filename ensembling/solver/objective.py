"""Objective of multinomial logistic regression, for many penalties at once.

It is scikit-learn's, `C * sum of cross-entropies + |weight|^2 / 2` with free biases, here divided by `C * samples`.
Features are rotated to their principal axes and scaled to unit variance, which leaves the penalty diagonal and the
optimum where it is.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

# samples that a Hessian is taken from: at least so many, and so many a parameter
LEAST_SAMPLES, SAMPLES_A_PARAMETER = 3000, 8
# rows of the Hessian computed at once, each up to the diagonal only
STRIP = 80
# columns of features come in multiples of this, the last ones empty: products over samples are faster then
LANES = 16
# numbers worked on at once: bounds the memory, and is enough for several threads
BLOCK = 2**20
# axes with less than this share of the largest variance carry nothing
NULL_VARIANCE = 1e-13
# axes with less than this share are scaled as if they had it, where they are found in single precision
LEAST_VARIANCE = 1e-6
# what an objective gives at a point: values, gradients and rounding errors of the values
Known = tuple[Tensor, Tensor, Tensor]


@dataclass(eq=False)
class Whitened:
    """Features on their principal axes with unit variance, then a column of ones, and empty ones up to `LANES`.

    Attributes:
        x: float64, or float32 where there are many classes, shape `(sample, axis + 1 + empty)`
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
        axes_kept = basis.shape[1]
        x = torch.zeros(len(features), axes_kept + 1 + -(axes_kept + 1) % LANES, dtype=torch.float64)
        torch.mm(centred, basis, out=x[:, :axes_kept])
        x[:, axes_kept] = 1
        penalty = torch.cat([1 / variance[kept], torch.zeros(1, dtype=torch.float64)])
        return cls(x, penalty, mean, basis)

    @classmethod
    def in_single(cls, features: Tensor, order: Tensor | None) -> "Whitened":
        """Rotate and scale features `(sample, feature)`, samples in an order if one is given, in single precision.

        They may fill much of the memory, so nothing else of their size is made.
        """
        count, wide = features.shape
        mean = features.mean(0, dtype=torch.float64)
        rows = max(BLOCK // wide, 64)
        blocks = [slice(begin, begin + rows) for begin in range(0, count, rows)]
        covariance = torch.zeros(wide, wide, dtype=torch.float64)
        for block in blocks:
            centred = features[block].double() - mean
            covariance.addmm_(centred.T, centred)
        # any orthonormal axes leave the objective as it is: rounding errors only make them a little less principal
        variance, axes = torch.linalg.eigh(covariance.div_(count).float())
        variance = variance.double().clamp(min=max(LEAST_VARIANCE * float(variance[-1]), 1e-24))
        basis = axes.double() / variance.sqrt()
        x = torch.zeros(count, wide + 1 + -(wide + 1) % LANES)
        for block in blocks:
            part = features[block if order is None else order[block]]
            x[block, :wide] = ((part.double() - mean) @ basis).float()
        x[:, wide] = 1
        return cls(x, torch.cat([1 / variance, torch.zeros(1, dtype=torch.float64)]), mean, basis)

    def original(self, solution: Tensor) -> tuple[Tensor, Tensor]:
        """Return weight `(class, feature)` and bias `(class,)` of a solution `(class, axis + 1)`."""
        weight = solution[:, :-1] @ self.basis.T
        return weight, solution[:, -1] - weight @ self.mean


class Objective:
    """Objectives of several penalties over the same samples.

    Args:
        parts: features, each piece of shape `(sample, axis + 1 + empty)`
        num_classes: number of classes, each with a sample
        ridge: half-penalties of squares, shape `(problem, axis + 1)`
        sums: each class's features, summed over samples, shape `(class, axis + 1)`: all that depends on labels
    """

    def __init__(self, parts: Sequence[Tensor], num_classes: int, ridge: Tensor, sums: Tensor) -> None:
        self.parts, self.classes, self.ridge = parts, num_classes, ridge
        self.count = sum(len(x) for x in parts)
        self.width, self.columns, self.kind = ridge.shape[1], parts[0].shape[1], parts[0].dtype
        # the part of the gradient that stays
        self.constant = sums / self.count
        self.noise = 1e-14 if self.kind == torch.float64 else 1e-7
        self.blocks: dict[int, list[Tensor]] = {}

    def only(self, numbers: list[int]) -> "Objective":
        """Return the objectives of some of the penalties."""
        some = copy.copy(self)
        some.ridge = self.ridge[numbers]
        return some

    def __call__(self, flat: Tensor, problems: Tensor) -> Known:
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
        gradient = torch.zeros(size * self.classes, self.columns, dtype=torch.float64)
        w = torch.zeros(size * self.classes, self.columns, dtype=self.kind)
        w[:, :width] = flat.view(size * self.classes, width)
        rows = max(BLOCK // max(size * self.classes, width), 64)
        if rows not in self.blocks:
            self.blocks[rows] = [share for x in self.parts for share in _shares(x, rows)]
        for x in self.blocks[rows]:
            # classes before samples: reductions over classes then run along whole vectors
            products = torch.bmm(w.expand(len(x), -1, -1), x.transpose(1, 2))
            p = products.view(len(x) * size, self.classes, -1)
            top = p.amax(1, keepdim=True)
            p.sub_(top).exp_()
            total = p.sum(1, keepdim=True)
            p.div_(total)
            loss += total.log_().add_(top).sum((1, 2)).view(len(x), size).sum(0)
            gradient += torch.bmm(products, x).sum(0)
        return loss, gradient.view(size, self.classes, -1)[:, :, :width]

    def after(self, known: Known, flat: Tensor, ridge: Tensor) -> Known:
        """Compute what these penalties give where others are known: the samples need not be looked at again.

        Args:
            known: what the others give
            flat: parameters, shape `(problem, class * (axis + 1))`
            ridge: half-penalties of the others, shape `(problem, axis + 1)`
        """
        value, gradient, noise = known
        w = flat.view(len(flat), self.classes, self.width)
        more = w * (self.ridge - ridge)[:, None]
        return value + 0.5 * (more * w).sum((1, 2)), gradient + more.flatten(1), noise

    def penalised(self, loss: Tensor, gradient: Tensor, flat: Tensor, problems: Tensor) -> Known:
        """Finish what `summed` began; see `__call__`."""
        w = flat.view_as(gradient)
        penalised = w * self.ridge[problems][:, None]
        # the gradient of the linear and the quadratic term in the weights
        slope = penalised - self.constant
        mean = loss / self.count
        value = mean + (w * torch.sub(slope, penalised, alpha=0.5)).sum((1, 2))
        slope = torch.add(slope, gradient, alpha=1 / self.count)
        return value, slope.flatten(1), self.noise * (mean.abs() + 1)

    def hessian(self, flat: Tensor, kind: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
        """Estimate the Hessian of the mean cross-entropy from samples that matter most to it.

        A sample is drawn with a probability proportional to `1 - sum(p^2)`, its share in the Hessian's trace, and
        weighted by its inverse.

        Args:
            flat: parameters of one problem, shape `(parameter,)`
            kind: double precision is for curvatures of very different sizes
            seed: names the draw

        Returns:
            shape `(parameter, parameter)`
        """
        w = flat.view(self.classes, self.width).to(kind)
        size = max(LEAST_SAMPLES, SAMPLES_A_PARAMETER * w.numel())
        x = torch.cat([x[:, : self.width].to(kind) for x in self.parts])
        p = (w @ x.T).softmax(0)
        root = torch.ones(1, dtype=kind)
        if self.count > size:
            drawn, chance = self._draw(p, size, seed)
            x, p, root = x[drawn], p[:, drawn], chance.rsqrt().to(kind)
        x = x.T.contiguous()
        # parameters are class after class; the last class's rows follow from the others', as probabilities sum to 1.
        # a weight without a class's probability stands for the last one: its rows are what each class has by itself
        weights = torch.cat([p[:-1] * root, root.expand(1, x.shape[1])])
        pairs = (weights[:, None] * x).flatten(0, 1)
        free = (self.classes - 1) * self.width
        products = torch.zeros(len(pairs), free, dtype=kind)
        for begin in range(0, len(pairs), STRIP):
            end = min(begin + STRIP, len(pairs))
            torch.mm(pairs[begin:end], pairs[: min(end, free)].T, out=products[begin:end, : min(end, free)])
        lower, own = products[:free], products[free:]
        blocks = torch.empty(self.classes, self.width, self.classes, self.width, dtype=kind)
        known = blocks[:-1, :, :-1]
        known.copy_(-(lower.tril() + lower.tril(-1).T).view_as(known))
        known.diagonal(dim1=0, dim2=2).add_(own.view(self.width, -1, self.width).transpose(1, 2))
        blocks[-1, :, :-1] = -known.sum(0)
        blocks[:, :, -1] = -blocks[:, :, :-1].sum(2)
        return blocks.view(flat.numel(), -1) / self.count

    @staticmethod
    def _draw(p: Tensor, size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Draw samples with probabilities `(class, sample)`; return their numbers and the chance each had."""
        spread = (1 - p.square().sum(0)).clamp(min=1e-12).double()
        chance = (spread * (size / spread.sum())).clamp(max=1)
        start = torch.rand(1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        steps = (chance.cumsum(0) + start).floor()
        drawn = steps.diff(prepend=start.floor()).nonzero().flatten()
        return drawn, chance[drawn]


class Joint:
    """Objectives over different samples, as one: the problems of the first, then those of the second, and so on.

    Args:
        objectives: with as many penalties each
    """

    def __init__(self, objectives: Sequence[Objective]) -> None:
        self.objectives, self.each = objectives, len(objectives[0].ridge)

    def __call__(self, flat: Tensor, problems: Tensor) -> Known:
        """Compute values and gradients of problems in ascending order; see `Objective`."""
        ends = torch.bincount(problems // self.each, minlength=len(self.objectives)).cumsum(0).tolist()
        found = [
            objective(flat[begin:end], problems[begin:end] % self.each)
            for objective, begin, end in zip(self.objectives, [0, *ends], ends, strict=False)
            if end > begin
        ]
        return joined(found)


def class_sums(x: Tensor, y: Tensor, num_classes: int, width: int) -> Tensor:
    """Sum each class's features; return shape `(class, axis + 1)`."""
    # whole rows: adding parts of them takes six times as long
    return torch.zeros(num_classes, x.shape[1], dtype=x.dtype).index_add_(0, y, x)[:, :width]


def _shares(x: Tensor, rows: int) -> list[Tensor]:
    """Cut features into blocks of so many samples, and each into a share a thread, shape `(thread, sample, column)`.

    Every operation then gives a thread the samples it had before: it need not fetch what another has written.
    """
    threads = torch.get_num_threads()
    found = []
    for begin in range(0, len(x), rows):
        block = x[begin : begin + rows]
        even = len(block) // threads * threads
        found.append(block[:even].view(threads, -1, x.shape[1]))
        found.append(block[even:][None])
    return [share for share in found if share.numel()]


def joined(known: Sequence[Known]) -> Known:
    """Put what several objectives give after each other."""
    values, gradients, noise = (torch.cat(parts) for parts in zip(*known, strict=True))
    return values, gradients, noise
