"""Multinomial logistic regression of many classes: Newton's method, whose steps are found by conjugate gradients.

A Hessian of so many parameters would neither fit into memory nor be worth its time. Its product with a vector costs no
more than a gradient, and needs only the probabilities that the gradient has computed. Samples are worked on in single
precision: each one's cross-entropy is computed from its own largest logit, so that errors stay relative.
"""

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

# nats of the mean cross-entropy by which a solution may be above the lowest: the draw of a million samples changes the
# mean a hundred times as much
TOLERANCE = 1e-6
# share of the gradient, in the preconditioner's norm, that a step leaves; and that one which may be the last leaves
LEFT, LAST_LEFT = 0.5, 0.1
# a step may be the last if it promises less than so many tolerances, and than this share of the objective: where
# classes are nearly separate, each step of many gives a share of what is left
NEAR, SHARE = 10, 0.01
# share of what such a step promises that it may leave
LEAVES = 0.05
# products with the Hessian for one step, and steps that may be too long
MOST_PRODUCTS, BACKTRACKS = 100, 30
# numbers worked on at once
BLOCK = 2**22
# least curvature of a parameter: a class without a sample has none
FLAT = 1e-10
# bias of a class without a sample: the logarithm of next to no probability
ABSENT = -30.0
# classes from which a faster kind of product makes up for converting what it multiplies
HALF_CLASSES = 64
# rounding error of a mean cross-entropy
NOISE = 1e-7
# share of the objective that the faster kind of product may round away, ten times what it was seen to; a step that
# promises less, or so many times what the last one may, ends at exact values
ROUGH, ROUGH_ABOVE = 0.002, 10
Product = Callable[[Tensor], Tensor]


@cache
def half_is_faster() -> bool:
    """Tell whether this CPU multiplies matrices of bfloat16 faster than those of float32: with AMX alone it does."""
    # not every version of torch can tell
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(known.get("amx_bf16"))


class ManyClasses:
    """The objective of one penalty: mean cross-entropy plus half-penalties of squares.

    Args:
        x: features, float32, shape `(sample, axis + 1 + empty)`, the last but the empty ones all 1
        labels: int64, shape `(sample,)`
        num_classes: number of classes; those without a sample get next to no probability
        ridge: half-penalties, shape `(axis + 1,)`
        held: samples that are left out
        kind: precision of products with the Hessian and of rough values, by default the fastest: steps need not be
            exact, as exact values and gradients decide where they end
    """

    def __init__(
        self,
        x: Tensor,
        labels: Tensor,
        num_classes: int,
        ridge: Tensor,
        held: slice | None = None,
        kind: torch.dtype | None = None,
    ) -> None:
        spans = [(0, len(x))] if held is None else [(0, held.start), (held.stop, len(x))]
        rows = max(BLOCK // max(num_classes, x.shape[1]), 64)
        cuts = [(at, min(at + rows, end)) for begin, end in spans for at in range(begin, end, rows)]
        self.blocks = [(x[begin:end], labels[begin:end, None]) for begin, end in cuts]
        half = num_classes >= HALF_CLASSES and half_is_faster()
        self.kind = kind or (torch.bfloat16 if half else torch.float32)
        self.rough = [x.to(self.kind) for x, _ in self.blocks]
        self.classes, self.width = num_classes, len(ridge)
        self.count = sum(len(y) for _, y in self.blocks)
        self.ridge = torch.zeros(x.shape[1])
        self.ridge[: self.width] = ridge.float()

    @property
    def counts(self) -> Tensor:
        """Samples of each class, shape `(class,)`."""
        return sum((torch.bincount(y[:, 0], minlength=self.classes) for _, y in self.blocks), torch.zeros(self.classes))

    def start(self) -> Tensor:
        """Return parameters `(class, axis + 1)` by which each class has its share of the samples."""
        w = torch.zeros(self.classes, self.width)
        w[:, -1] = (self.counts / self.count).log().clamp(min=ABSENT)
        return w

    def padded(self, w: Tensor) -> Tensor:
        """Append weights of 0 for the empty columns."""
        return torch.nn.functional.pad(w, (0, len(self.ridge) - self.width))

    def __call__(self, w: Tensor, rough: bool = False) -> tuple[float, Tensor, list[Tensor]]:
        """Return value, gradient and each block's probabilities at padded parameters `(class, column)`.

        Args:
            w: the parameters
            rough: matrices are multiplied in the precision of products with the Hessian
        """
        loss, gradient, probabilities = 0.0, torch.zeros_like(w), []
        kind = self.kind if rough else w.dtype
        multiplied = w.to(kind)
        for (x, y), near in zip(self.blocks, self.rough, strict=True):
            features = near if rough else x
            log_p = (features @ multiplied.T).float().log_softmax(1)
            loss -= float(log_p.gather(1, y).sum(dtype=torch.float64))
            p = log_p.exp_()
            probabilities.append(p)
            residual = p.scatter_add(1, y, torch.full(y.shape, -1.0))
            gradient.add_(residual.to(kind).T @ features)
        penalised = w * self.ridge
        value = loss / self.count + 0.5 * _dot(penalised, w)
        return value, gradient.div_(self.count).add_(penalised), probabilities

    def product(self, probabilities: list[Tensor]) -> Product:
        """Return the map from parameters `(class, column)` to their product with the Hessian at such probabilities."""

        def product(v: Tensor) -> Tensor:
            total, rough = torch.zeros_like(v), v.to(self.kind)
            for x, p in zip(self.rough, probabilities, strict=True):
                # probabilities stay in single precision: what one of nearly 1 lacks is the curvature
                u = (x @ rough.T).float().mul_(p)
                u.addcmul_(p, u.sum(1, keepdim=True), value=-1)
                total.add_(u.to(self.kind).T @ x)
            return total.div_(self.count).addcmul_(v, self.ridge)

        return product

    def diagonal(self, probabilities: list[Tensor]) -> Tensor:
        """Return the Hessian's diagonal at such probabilities, shape `(class, column)`."""
        total = torch.zeros(self.classes, len(self.ridge))
        # what it preconditions need not be exact either
        for x, p in zip(self.rough, probabilities, strict=True):
            total.add_((p - p.square()).to(self.kind).T @ x.square())
        return total.div_(self.count).add_(self.ridge).clamp_(min=FLAT)


def minimise_many(objective: ManyClasses, start: Tensor, tolerance: float, max_iterations: int) -> tuple[Tensor, bool]:
    """Minimise the objective.

    Args:
        objective: of one penalty
        start: parameters, shape `(class, axis + 1)`
        tolerance: nats by which the objective may still fall: what the last step left, and what it gave more or less
            than it promised
        max_iterations: gradients and products with a Hessian, in all

    Returns:
        parameters `(class, axis + 1)`, and whether they converged
    """
    w = objective.padded(start.float())
    rough = objective.kind is not w.dtype
    value, gradient, probabilities = objective(w, rough)
    used = 1
    while used < max_iterations:
        diagonal = objective.diagonal(probabilities)
        most = min(MOST_PRODUCTS, max_iterations - used)
        near = max(tolerance, min(NEAR * tolerance, SHARE * value))
        step, products = _newton_step(objective.product(probabilities), gradient, diagonal, near, most)
        used += 1 + products
        slope = _dot(gradient, step)
        promised = -0.5 * slope
        # of an earlier point, and as large as samples times classes
        del probabilities
        was_rough, rough = rough, rough and promised > max(ROUGH * value, ROUGH_ABOVE * near)
        noise = ROUGH * value if was_rough else NOISE * (1 + value)
        for _ in range(BACKTRACKS):
            new_value, new_gradient, probabilities = objective(w + step, rough)
            used += 1
            if new_value <= value + 1e-4 * slope + noise:
                break
            del probabilities
            step, slope = step.mul_(0.4), 0.4 * slope
        else:
            break
        surprise = abs(value - new_value - promised)
        w, value, gradient = w + step, new_value, new_gradient
        if not was_rough and promised <= near and surprise + LEAVES * promised <= tolerance:
            return w[:, : objective.width].double(), True
    return w[:, : objective.width].double(), False


def _newton_step(product: Product, gradient: Tensor, diagonal: Tensor, near: float, most: int) -> tuple[Tensor, int]:
    """Find Newton's step by preconditioned conjugate gradients, the less roughly the nearer the solution.

    Returns:
        the step, and the number of products
    """
    step, residual = torch.zeros_like(gradient), -gradient
    scaled = residual / diagonal
    direction = scaled.clone()
    size = first = _dot(residual, scaled)
    gain, products = 0.0, 0
    while products < most and size > 0:
        turned = product(direction)
        products += 1
        curvature = _dot(direction, turned)
        # nothing but rounding errors
        if curvature <= 0:
            break
        length = size / curvature
        step.add_(direction, alpha=length)
        residual.sub_(turned, alpha=length)
        gain += 0.5 * length * size
        torch.div(residual, diagonal, out=scaled)
        before, size = size, _dot(residual, scaled)
        left = LAST_LEFT if gain <= near else LEFT
        if size <= left**2 * first:
            break
        direction.mul_(size / before).add_(scaled)
    return step, products


def _dot(left: Tensor, right: Tensor) -> float:
    """Sum the products of two matrices' entries: those of a row in single precision, and rows in double."""
    return float(torch.linalg.vecdot(left, right).sum(dtype=torch.float64))
