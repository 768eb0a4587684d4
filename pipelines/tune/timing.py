"""Real training steps, timed: which precision and memory format are fastest here, and keep the loss."""

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from common.words import duration
from datamodules import DataModule
from engine.quiet import quiet
from engine.training_loop import use_lean_loop
from lightning_modules import ImageClassifier, TrainedModel
from lightning_modules.training.schedules import WarmupCosine

# a smaller speed-up over eager fp32 counts as noise
MARGIN = 1.03
# the share by which a loss may lie above that of fp32, and the least loss that the share is taken of
LOSS_SHARE, LEAST_LOSS = 0.02, 0.1
# steps before the clock starts: the optimizer makes its state, and libraries choose their kernels
WARMUP = 2
# a candidate this much slower than eager fp32 is not timed again
HOPELESS = 0.5


@dataclass(frozen=True)
class Candidate:
    """One way to compute the same training.

    Args:
        precision: as the Trainer takes it
        memory_format: as the model takes it
        torch_compile: as the model takes it
    """

    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    torch_compile: bool = False

    def __str__(self) -> str:
        return f"{self.precision}, {self.memory_format}" + (", compiled" if self.torch_compile else "")


# eager fp32 with channels first: what all others are measured against
REFERENCE = Candidate()


@dataclass
class Measurement:
    """What was measured of a candidate.

    Args:
        candidate: the setting
        rates: images a second in each round; fewer if it was given up
        losses: of each step from the same weights over the same batches
        error: why it could not be run, if it could not
    """

    candidate: Candidate
    rates: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    error: str | None = None

    def ratio(self, reference: "Measurement") -> float:
        """Return how many times as fast it is: the median over rounds, each with what the machine did then."""
        pairs = zip(self.rates, reference.rates, strict=False)
        return statistics.median([one / other for one, other in pairs] or [0.0])


def candidates(device: str, torch_compile: bool, of_images: bool = True) -> list[Candidate]:
    """List what there is to try, the most exact and least changed first.

    Args:
        device: type of the device
        torch_compile: try each compiled too
        of_images: whether the model is on images, which have an order in memory
    """
    # half precision overflows where bfloat16 does not, and CPUs have no use for it
    precisions: list[Any] = ["32-true", "bf16-mixed"] + (["16-mixed"] if device == "cuda" else [])
    formats: list[Any] = ["contiguous", "channels_last"] if of_images else ["contiguous"]
    return [
        Candidate(precision, memory_format, compiled)
        for compiled in ([False, True] if torch_compile else [False])
        for precision in precisions
        for memory_format in formats
    ]


def keeps_loss(losses: Sequence[float], reference: Sequence[float]) -> bool:
    """Tell whether training loses nothing against eager fp32, by the second half of the same steps.

    Both saw the same batches from the same weights, so they are compared step by step: the mean difference may be 2 %
    of the loss and twice its standard error.

    Args:
        losses: of each step
        reference: of each step of eager fp32
    """
    half = len(reference) // 2
    if len(losses) != len(reference) or not all(map(math.isfinite, losses)):
        return False
    later = reference[half:]
    differences = [one - other for one, other in zip(losses[half:], later, strict=True)]
    noise = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else 0.0
    allowed = LOSS_SHARE * max(statistics.mean(later), LEAST_LOSS) + 2 * noise
    return statistics.mean(differences) <= allowed


def choose(measurements: Sequence[Measurement]) -> Measurement:
    """Choose the fastest setting that keeps the loss; never one that is not clearly faster than eager fp32.

    Args:
        measurements: that of eager fp32 first, then from the most exact on; of those as good as equally fast the first
            is taken
    """
    reference = measurements[0]
    ratios = [
        (m.ratio(reference), m)
        for m in measurements[1:]
        if m.error is None and keeps_loss(m.losses, reference.losses) and m.ratio(reference) > MARGIN
    ]
    fastest = max((ratio for ratio, _ in ratios), default=0.0)
    return next((m for ratio, m in ratios if ratio * MARGIN >= fastest), reference)


class Stopwatch(Callback):
    """Time training steps, their data and augmentation included, and keep their losses on the device.

    Args:
        warmup: steps before the clock starts
        steps: steps in all
    """

    def __init__(self, warmup: int, steps: int) -> None:
        self.warmup, self.steps = warmup, steps
        self.losses: list[Tensor] = []
        self.images, self.started, self.seconds = 0, 0.0, 0.0

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count steps; wait for the device only where the clock starts and stops."""
        self.losses.append(outputs["loss"].detach())
        self.images += len(batch["id"])
        if len(self.losses) in (self.warmup, self.steps):
            if trainer.strategy.root_device.type == "cuda":
                torch.cuda.synchronize()
            if len(self.losses) == self.steps:
                self.seconds = time.perf_counter() - self.started
            else:
                self.images, self.started = 0, time.perf_counter()


class Bench:
    """Train copies of a model for a few steps at a time, each computed in another way.

    Each slice is a short `fit` of a Trainer, so that whatever a real one does in a step is timed: gathering,
    augmentation, preprocessing, autocast, loss, optimizer and metrics. Callbacks are left out.

    Args:
        model: stays as it is
        data: serves the batches
        options: of the Trainer, beyond what a slice sets
        seed: of every slice, so that all see the same
    """

    def __init__(self, model: TrainedModel, data: DataModule, options: Mapping[str, Any], seed: int) -> None:
        self.model, self.data, self.options, self.seed = model, data, options, seed
        self._copies: dict[Candidate, TrainedModel] = {}

    def copy(self, candidate: Candidate) -> TrainedModel:
        """Copy the model, to be computed in some way and trained by a schedule that needs no validation."""
        # options are shared: defaults of jsonargparse cannot be copied
        model = deepcopy(self.model, {id(o): o for o in (self.model.loss, self.model.optimizer, self.model.schedule)})
        if isinstance(model, ImageClassifier):
            model.memory_format, model.torch_compile = candidate.memory_format, candidate.torch_compile
        model.schedule = None if model.schedule is None else WarmupCosine()
        # a search also tries what breaks training
        model.loss_watch.enabled = False
        return model

    def trainer(self, candidate: Candidate, **options: Any) -> pl.Trainer:
        """Build a Trainer that leaves nothing behind."""
        quiet = dict.fromkeys(
            ("enable_progress_bar", "enable_model_summary", "logger", "use_distributed_sampler"), False
        )
        defaults = {"max_epochs": -1, "num_sanity_val_steps": 0, "enable_checkpointing": False}
        # no validation, even where Lightning's finders set a number of batches for it
        defaults |= {"limit_val_batches": 0, "check_val_every_n_epoch": 10**9}
        return pl.Trainer(**{**self.options, **quiet, **defaults, "precision": candidate.precision, **options})

    def slice(self, candidate: Candidate, warmup: int, steps: int) -> Stopwatch:
        """Train for some steps from the model's first weights.

        Args:
            candidate: how
            warmup: steps that are not timed
            steps: steps that are
        """
        if candidate not in self._copies:
            self._copies[candidate] = self.copy(candidate)
        copy = self._copies[candidate]
        copy.load_state_dict(self.model.state_dict())
        watch = Stopwatch(warmup, warmup + steps)
        pl.seed_everything(self.seed, verbose=False)
        with quiet():
            training = self.trainer(candidate, max_steps=warmup + steps, callbacks=[watch])
            use_lean_loop(training)
            training.fit(copy, datamodule=self.data)
        return watch

    def measure(
        self,
        tried: Sequence[Candidate],
        rounds: int,
        seconds: float,
        loss_steps: int,
        report: Callable[[str], None] = lambda line: None,
    ) -> list[Measurement]:
        """Train each candidate for its losses, then time all in turns.

        Args:
            tried: eager fp32 first
            rounds: turns of each
            seconds: of a turn of eager fp32, about; the others get as many steps
            loss_steps: steps whose losses are compared
            report: called with a line on what is done next

        Returns:
            a measurement a candidate, in their order

        Raises:
            ValueError: training diverges in eager fp32, so there is nothing to compare with
        """
        measurements = [Measurement(candidate) for candidate in tried]
        steps = 1
        for m in measurements:
            report(f"training with {m.candidate}")
            watch = self._attempt(m, loss_steps, m is measurements[0])
            if watch is None:
                continue
            m.losses = torch.stack(watch.losses).float().tolist()
            if m is measurements[0]:
                steps = max(2, min(500, round(seconds * loss_steps / watch.seconds)))
                if not all(map(math.isfinite, m.losses)):
                    raise ValueError(f"training diverges within {loss_steps} steps at 32-true: lower the learning rate")
        began = time.monotonic()
        for done in range(rounds):
            left = (time.monotonic() - began) * (rounds - done) / max(1, done)
            report(f"timing, round {done + 1} of {rounds}" + (f": {duration(left)} left" if done else ""))
            for m in measurements:
                if m.error is None and (not m.rates or m.ratio(measurements[0]) > HOPELESS):
                    watch = self._attempt(m, steps, m is measurements[0])
                    m.rates += [watch.images / watch.seconds] if watch else []
        return measurements

    def _attempt(self, measurement: Measurement, steps: int, needed: bool) -> Stopwatch | None:
        try:
            return self.slice(measurement.candidate, WARMUP, steps)
        except RuntimeError as error:
            if needed:
                raise
            # such as a missing compiler, or too little memory
            measurement.error = str(error).strip().splitlines()[0]
            return None
