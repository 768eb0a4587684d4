"""RandomState: a resumed run draws what the uninterrupted one would have drawn."""

from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class RandomState(Callback):
    """Keep the state of torch's random numbers in checkpoints, which Lightning does not.

    Without it dropout of a resumed run differs. Processes draw alike, so the state of the one that saves serves all.
    """

    def __init__(self) -> None:
        self.restored: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the CPU's generator, and of the current GPU's."""
        state = {"cpu": torch.get_rng_state()}
        if torch.cuda.is_available() and torch.cuda.is_initialized():
            state["cuda"] = torch.cuda.get_rng_state()
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Remember the state until training starts: what is set up before draws numbers of its own."""
        self.restored = state_dict

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Go on from the remembered state."""
        if "cpu" in self.restored:
            torch.set_rng_state(self.restored["cpu"].cpu())
        if "cuda" in self.restored and pl_module.device.type == "cuda":
            torch.cuda.set_rng_state(self.restored["cuda"].cpu(), pl_module.device)
        self.restored = {}
