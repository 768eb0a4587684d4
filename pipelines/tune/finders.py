"""Lightning's finders of a learning rate and of the largest batch, made to fit."""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from lightning.pytorch.tuner import Tuner
from torch.optim import Optimizer

from common.lightning_seam import no_rate_bar
from common.machine import free_memory, peak_memory
from common.terminal import draws
from common.words import duration
from engine.quiet import quiet
from lightning_modules import TrainedModel
from pipelines.tune.range_test import RangeTest
from pipelines.tune.timing import Bench, Candidate

# takes a line on how far a search is
Report = Callable[[str], None]

LOWEST_RATE, HIGHEST_RATE = 1e-6, 10.0
# what Lightning smooths losses with
BETA = 0.98
# the share of the free main memory that may be used, so that nothing is driven into swap
USABLE = 0.5


class StepLines:
    """Say at each quarter of a search how far it is; the finder takes a Trainer's callbacks away.

    Args:
        report: called with a line
        steps: of the whole search
    """

    def __init__(self, report: Report, steps: int) -> None:
        self.report, self.steps, self.taken = report, steps, 0
        self.began = time.monotonic()

    def __call__(self, model: TrainedModel, inputs: Any) -> None:
        """Count a step that begins."""
        if self.taken and self.taken % max(1, self.steps // 4) == 0:
            left = (time.monotonic() - self.began) * (self.steps - self.taken) / self.taken
            self.report(f"learning rate, step {self.taken} of {self.steps}: at most {duration(left)} left")
        self.taken += 1


def find_learning_rate(bench: Bench, candidate: Candidate, steps: int, report: Report = lambda line: None) -> RangeTest:
    """Train while the learning rate rises from 1e-6 to 10, until the loss diverges, by Lightning's finder.

    Args:
        bench: the model and its data
        candidate: how it is computed
        steps: optimizer steps
        report: called with lines on how far it is
    """
    model = bench.copy(candidate)
    model.schedule = None
    highest = keep_shares(model)
    model.register_forward_pre_hook(StepLines(report, steps))
    with quiet(), nullcontext() if draws() else no_rate_bar():
        finder = Tuner(bench.trainer(candidate)).lr_find(
            model,
            datamodule=bench.data,
            min_lr=LOWEST_RATE,
            max_lr=HIGHEST_RATE,
            num_training=steps,
            # the optimizer is injected: there is no attribute to set
            update_attr=False,
        )
    assert finder is not None
    losses = each_loss(finder.results["loss"])
    end = next((number for number, loss in enumerate(losses) if not math.isfinite(loss)), len(losses))
    return RangeTest(finder.results["lr"][:end], losses[:end], highest[0])


def each_loss(smoothed: Sequence[float]) -> list[float]:
    """Return the loss of each step from Lightning's running means of them.

    Those lag by half of a usual search, and start at half of the loss, because the correction of their start counts one
    step too many.

    Args:
        smoothed: the running mean after each step
    """
    means = [mean * (1 - BETA ** (step + 2)) for step, mean in enumerate(smoothed)]
    return [(mean - BETA * before) / (1 - BETA) for mean, before in zip(means, [0.0, *means], strict=False)]


def keep_shares(model: TrainedModel) -> list[float]:
    """Let groups of parameters with lower rates than others keep their share of the rate, which a finder sets for all.

    Args:
        model: its next optimizer is changed

    Returns:
        the highest rate of that optimizer, once it is built
    """
    configure = model.configure_optimizers
    own: list[float] = []

    def configured() -> Any:
        optimizer: Any = configure()
        highest = float(max(group["lr"] for group in optimizer.param_groups))
        own.append(highest)
        shares = [group["lr"] / highest for group in optimizer.param_groups]

        def scale(optimizer: Optimizer, *_: Any) -> None:
            # the finder's schedule sets them all anew after the step
            rate = max(group["lr"] for group in optimizer.param_groups)
            for group, share in zip(optimizer.param_groups, shares, strict=True):
                group["lr"] = rate * share

        optimizer.register_step_pre_hook(scale)
        return optimizer

    model.configure_optimizers = configured  # type: ignore[method-assign]
    return own


class BatchLimit:
    """Stop a search for the largest batch where it must end, as if memory had run out: the finder knows no other end.

    The finder also has a highest value, but returns it without trying it. On a CPU, memory does not run out: it swaps.

    Args:
        bench: whose batch size is doubled
        most: samples in a batch
        report: called with a line on each size
    """

    def __init__(self, bench: Bench, most: int, report: Report = lambda line: None) -> None:
        self.bench, self.most, self.report = bench, most, report
        self.tried, self.peak = 0, peak_memory(torch.device("cpu"))

    def __call__(self, model: TrainedModel, inputs: Any) -> None:
        """Raise before the first step with a batch that is too large."""
        size = self.bench.data.batch_size
        if size == self.tried:
            return
        peak = peak_memory(torch.device("cpu"))
        # twice the batch takes about twice of what the last one added
        needed, self.tried, self.peak = 2 * (peak - self.peak), size, peak
        if size > self.most or (model.device.type == "cpu" and needed > USABLE * free_memory()):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        self.report(f"trying batches of {size}")


def find_batch_size(bench: Bench, candidate: Candidate, most: int, report: Report = lambda line: None) -> int:
    """Double the batch until it does not fit, by Lightning's finder; returns the largest that did.

    Args:
        bench: the model and its data, whose batch size is the first to be tried
        candidate: how it is computed
        most: never try more samples than this
        report: called with a line on each size
    """
    data, model = bench.data, bench.copy(candidate)
    model.schedule = None
    given, most = data.batch_size, min(most, len(data.served("train")))
    model.register_forward_pre_hook(BatchLimit(bench, most, report))
    try:
        with quiet():
            size = Tuner(bench.trainer(candidate)).scale_batch_size(
                model, datamodule=data, init_val=min(given, most), max_val=2 * most + 1
            )
    finally:
        data.batch_size = given
    assert size is not None
    return size
