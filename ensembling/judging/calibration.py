"""Temperature scaling: one number that matches confidence to accuracy."""

import math

import torch
from torch import Tensor

# beyond these, one class has nearly all probability, or all classes have the same
LOWEST, HIGHEST = 1e-2, 1e2
# the strength of the prior: the inverse temperature is 1 give or take a third
PRIOR = 10.0
# nats that the best temperature gains over 1, the ideal one, on average
NOISE = 0.5
# the logit of a class without probability, relative to the sample's highest
FLOOR = -1e4


def fit_temperature(logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> float:
    """Find a temperature for `softmax(logits / temperature)` that few samples do not lead astray.

    The temperature of the lowest NLL (Guo et al., On Calibration of Modern Neural Networks, ICML 2017) rests on the
    errors, of which a good model makes few: it does more harm than none where there are two. So the inverse temperature
    has a gamma prior with its mode at 1, and of the logarithm of what is found the share `1 - NOISE / gain` is kept,
    where `gain` is the log-likelihood that it gains over 1: none, unless it gains more than noise does. With thousands
    of samples both hardly matter. `benchmarks/temperature.py` says what that is worth.

    Args:
        logits: of held-out samples, shape `(sample, class)`; minus infinity for a class without probability
        labels: int64, shape `(sample,)`
        groups: samples of one group tell as much as one sample together, shape `(sample,)`; None takes each for itself

    Returns:
        temperature in [0.01, 100]

    Raises:
        ValueError: no samples, or logits that are not numbers
    """
    z = _above_floor(logits.detach().double())
    true = z.gather(1, labels[:, None])[:, 0]
    known = len(z) if groups is None else len(groups.unique())
    inverse = _most_likely(z, true, known)
    gain = known * float(((z.logsumexp(1) - true) - ((z * inverse).logsumexp(1) - true * inverse)).mean())
    kept = 1 - NOISE / gain if gain > NOISE else 0.0
    return float(inverse**-kept)


def _most_likely(z: Tensor, true: Tensor, known: int) -> float:
    """Find the inverse temperature of the highest posterior density.

    Its negative logarithm is convex: Newton's method inside a bracket that every step makes smaller finds it.

    Args:
        z: logits, shape `(sample, class)`
        true: of each sample's class, shape `(sample,)`
        known: what the samples count for together
    """
    low, high = 1 / HIGHEST, 1 / LOWEST
    inverse = 1.0
    for _ in range(200):
        p = (z * inverse).softmax(1)
        mean = (p * z).sum(1)
        slope = known * float((mean - true).mean()) + PRIOR * (1 - 1 / inverse)
        curvature = known * float(((p * z.square()).sum(1) - mean.square()).mean()) + PRIOR / inverse**2
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        step = inverse - slope / curvature
        # bisection of the logarithm where Newton's step leaves the bracket
        step = step if low < step < high else math.sqrt(low * high)
        if abs(step - inverse) <= 1e-10 * inverse:
            break
        inverse = step
    return inverse


def calibrated_bases(logits: Tensor, labels: Tensor, groups: Tensor | None = None) -> Tensor:
    """Divide each member's logits by the temperature that fits it.

    Args:
        logits: of held-out samples, shape `(sample, member, class)`
        labels: int64, shape `(sample,)`
        groups: as in `fit_temperature`

    Returns:
        float64, of the same shape
    """
    temperatures = [fit_temperature(logits[:, member], labels, groups) for member in range(logits.shape[1])]
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
