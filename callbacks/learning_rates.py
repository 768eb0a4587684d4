"""The learning rate over a run, in as many steps as its picture needs."""

from typing import Any

import lightning.pytorch as pl

from common.lightning_seam import RateMonitor, steps_logged

# about as many points as a curve can show
POINTS = 200


class LearningRates(RateMonitor):
    """Log the learning rate: of a short run at every step, of a long one often enough for a smooth curve.

    Lightning's logs every `--trainer.log_every_n_steps`, which of a short run is a point or two.
    """

    def on_train_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Choose the steps."""
        super().on_train_start(trainer, *args, **kwargs)
        wanted, steps = trainer.log_every_n_steps, trainer.estimated_stepping_batches  # type: ignore[attr-defined]
        # 0 logs nothing, and a run without an end has a step of -1 or infinity
        bounded = wanted and 0 < steps < float("inf")
        self.every = max(1, min(wanted, int(steps) // POINTS)) if bounded else wanted
        self.logged = -1

    def on_train_batch_start(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Log the rate that the step is taken with, if it is one of them."""
        step = steps_logged(trainer)
        # several batches may be one step
        if step == self.logged or not self.every or ((step + 1) % self.every and step):
            return
        self.logged = step
        self.log_rates(trainer)
