"""Temperature scaling: one number that matches confidence to accuracy."""

import math

import torch
from torch import Tensor

# beyond these, one class has nearly all probability, or all classes have the same
LOWEST, HIGHEST = 1e-2, 1e2
# the logit of a class without probability, relative to the sample's highest
FLOOR = -1e4


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature with the lowest NLL of `softmax(logits / temperature)`.

    Guo et al., On Calibration of Modern Neural Networks, ICML 2017. The NLL is convex in the inverse of the
    temperature: Newton's method inside a bracket that every step makes smaller finds it. Where all predictions are
    right the NLL falls without end, and nothing is known of how sure an error would be: the temperature stays 1.
    Where logits carry no information, the temperature is the upper bound.

    Args:
        logits: of held-out samples, shape `(sample, class)`; minus infinity for a class without probability
        labels: int64, shape `(sample,)`

    Returns:
        temperature in [0.01, 100]

    Raises:
        ValueError: no samples, or logits that are not numbers
    """
    z = _above_floor(logits.detach().double())
    true = z.gather(1, labels[:, None])[:, 0]
    if bool((z.scatter(1, labels[:, None], -torch.inf).amax(1) < true).all()):
        return 1.0
    low, high = 1 / HIGHEST, 1 / LOWEST
    inverse = 1.0
    for _ in range(200):
        p = (z * inverse).softmax(1)
        mean = (p * z).sum(1)
        slope = float((mean - true).mean())
        curvature = float(((p * z.square()).sum(1) - mean.square()).mean())
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature if curvature > 0 else math.inf
        # bisection of the logarithm where Newton's step leaves the bracket
        step = step if low < step < high else math.sqrt(low * high)
        if abs(step - inverse) <= 1e-10 * inverse:
            break
        inverse = step
    return min(max(1 / inverse, LOWEST), HIGHEST)


def calibrated_bases(logits: Tensor, labels: Tensor) -> Tensor:
    """Divide each base's logits by the temperature that fits it.

    Args:
        logits: of held-out samples, shape `(sample, base, class)`
        labels: int64, shape `(sample,)`

    Returns:
        float64, of the same shape
    """
    temperatures = [fit_temperature(logits[:, base], labels) for base in range(logits.shape[1])]
    return logits.double() / torch.tensor(temperatures, dtype=torch.float64)[:, None]


def apply_temperature(logits: Tensor, temperature: float) -> Tensor:
    """Divide logits by a temperature, which changes no ranking of classes.

    Args:
        logits: shape `(batch, class)`
        temperature: what `fit_temperature` returned, above 0

    Returns:
        shape `(batch, class)`
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"a temperature must be a number above 0, not {temperature}")
    return logits / temperature


def _above_floor(logits: Tensor) -> Tensor:
    if not len(logits):
        raise ValueError("a temperature cannot be fitted on no samples")
    z = logits - logits.amax(1, keepdim=True)
    if torch.isnan(z).any():
        raise ValueError("a temperature cannot be fitted: the logits are not finite")
    return z.clamp(min=FLOOR)
