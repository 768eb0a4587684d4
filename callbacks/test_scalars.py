"""The metrics of a test among TensorBoard's scalars."""

from pathlib import Path

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from callbacks.recorder import is_rehearsal
from lightning_modules.model import Model
from records.whole_file import naming


class TestScalars(Callback):
    """Write `test/*` into the run's folder, at the step of the checkpoint: a test has no logger of its own."""

    # it is no test of pytest's
    __test__ = False

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write one point of each metric."""
        if not trainer.is_global_zero or is_rehearsal(trainer) or not isinstance(pl_module, Model):
            return
        # slow to import
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(trainer.default_root_dir)
        with naming(folder / "events.out.tfevents"), SummaryWriter(str(folder), filename_suffix=".test") as writer:
            for name, value in pl_module.metrics.items():
                writer.add_scalar(f"test/{name}", value, pl_module.trained_steps)
