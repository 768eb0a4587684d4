"""One step of an optimizer on stand-ins for the parameters: what cannot work is refused before training, by its option.

Optimizers look at their options when they are built or at their first step, name none as the command line does, and
differ in which devices, types and shapes they take.
"""

import inspect
import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from common.ranges import OptionError

Build = Callable[[Any], Optimizer]
Rates = Mapping[nn.Parameter, tuple[str, float]]


def check_optimizer(build: Build, assemble: Callable[[Build, Rates], Optimizer], rates: Rates) -> None:
    """Refuse an optimizer that cannot be built over a model's parameters, or cannot take a step on them.

    Args:
        build: makes it from groups of parameters
        assemble: makes it by `build` over parameters of some rates
        rates: of each parameter

    Raises:
        OptionError: it cannot; the message names the option whose default would do, if it is one
    """
    name, options, defaults = described(build)
    for option, value in options.items():
        if value != defaults.get(option) and not all(map(math.isfinite, numbers(value))):
            raise OptionError(f"--model.optimizer.{option}", f"must be finite, not {value}")
    error = fails(build, assemble, rates)
    if error is None:
        return
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    for option, value in options.items():
        if option in defaults and value != defaults[option]:
            usual = partial(build, **{option: defaults[option]})
            if fails(usual, assemble, rates) is None:
                raise OptionError(f"--model.optimizer.{option}", f"{shown(value)} cannot work: {reason}") from error
    raise OptionError(
        f"--model.optimizer {name}", f"cannot train this model here: {reason}; take another, such as torch.optim.AdamW"
    ) from error


def fails(build: Build, assemble: Callable[[Build, Rates], Optimizer], rates: Rates) -> Exception | None:
    """Try an optimizer, and return what it raised."""
    trial = stand_ins(rates)
    with torch.random.fork_rng(devices=[]):
        try:
            optimizer = assemble(build, trial)
            # a step with gradients of zero, then one with others
            for slope in (0.0, 0.1):
                for parameter in trial:
                    parameter.grad = torch.full_like(parameter, slope)
                optimizer.step(lambda: torch.zeros(()))  # type: ignore[arg-type, return-value]
                check_finite(trial, optimizer)
        # optimizers of other libraries may raise any error
        except Exception as error:
            return error
    return None


def check_finite(trial: Rates, optimizer: Optimizer) -> None:
    """Refuse an optimizer that divides by zero where there is no gradient.

    Raises:
        ArithmeticError: a weight is not finite
    """
    if all(bool(parameter.isfinite().all()) for parameter in trial):
        return
    eps, half = optimizer.defaults.get("eps"), next(iter(trial)).dtype
    hint = f": eps {eps} is 0 in {half}" if isinstance(eps, float) and torch.tensor(eps, dtype=half) == 0 else ""
    raise ArithmeticError(
        f"a weight without a gradient would not stay finite{hint} (--model.optimizer.eps 1e-4, or --trainer.precision "
        f"bf16-true, may help)"
    )


def stand_ins(rates: Rates) -> dict[nn.Parameter, tuple[str, float]]:
    """Make a small parameter for each kind there is: of one group, type, device and number of axes."""
    kinds: dict[Any, nn.Parameter] = {}
    for parameter, rate in rates.items():
        if parameter.requires_grad:
            kind = (rate, parameter.dtype, parameter.device, parameter.ndim)
            shape = [min(size, 2) for size in parameter.shape]
            kinds.setdefault(kind, nn.Parameter(torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)))
    return {parameter: kind[0] for kind, parameter in kinds.items()}


def described(build: Build) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Return the name of an optimizer's class, its options, and their defaults, as far as they can be known.

    Args:
        build: a class, or the partial function that jsonargparse makes of one and its options
    """
    options: dict[str, Any] = {}
    kind: Any = build
    while isinstance(kind, partial):
        options = {**kind.keywords, **options}
        kind = next((argument for argument in kind.args if isinstance(argument, type)), kind.func)
    parameters = inspect.signature(kind).parameters.values() if isinstance(kind, type) else ()
    return getattr(kind, "__name__", str(kind)), options, {each.name: each.default for each in parameters}


def shown(value: Any) -> str:
    """Write an option's value as a command line takes it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=str)


def numbers(value: Any) -> Iterator[float]:
    """Yield the numbers that an option holds."""
    for each in value if isinstance(value, list | tuple) else [value]:
        if isinstance(each, int | float) and not isinstance(each, bool):
            yield each
        elif isinstance(each, Tensor):
            yield from each.flatten().tolist()
