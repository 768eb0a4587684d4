"""Signals that ask a run to stop, kept until the end of a batch."""

import os
import signal
import threading
from types import FrameType

import lightning.pytorch as pl
from lightning.fabric.plugins.environments import SLURMEnvironment

from common.lightning_seam import cluster_environment
from common.slurm import ANNOUNCED


class Signals:
    """Take SIGINT, SIGTERM and SLURM's announcement of a requeue, in place of acting on them in the middle of a step.

    Lightning's own act where they come: Ctrl-C between the updates of two weights, a requeue's save likewise, and a
    SIGTERM talks to the other processes while they talk of gradients. It puts the earlier handlers back after the fit.

    Attributes:
        stop: number of the signal that asks the run to stop; 0 for none
        requeue: number of the signal that announces a requeue; 0 for none
    """

    def __init__(self) -> None:
        self.stop, self.requeue = 0, 0
        self.speaks = True

    def install(self, trainer: pl.Trainer) -> None:
        """Take the signals from now on.

        Args:
            trainer: about to train
        """
        # one that came while the run was set up
        self.stop = signal.SIGTERM if trainer.received_sigterm else 0
        self.requeue = 0
        self.speaks = trainer.is_global_zero
        environment = cluster_environment(trainer)
        requeues = isinstance(environment, SLURMEnvironment) and environment.auto_requeue
        if requeues:
            self.requeue, ANNOUNCED.number = ANNOUNCED.number, 0
        if threading.current_thread() is not threading.main_thread():
            return
        signal.signal(signal.SIGINT, self._ask_to_stop)
        signal.signal(signal.SIGTERM, self._ask_to_stop)
        if requeues:
            signal.signal(environment.requeue_signal or signal.SIGUSR1, self._ask_to_requeue)  # type: ignore[union-attr]

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.stop:
            # asked twice: at once, and what is being saved is given up
            raise KeyboardInterrupt
        self.stop = self.stop or number
        if self.speaks:
            # a handler must not print: it may have come in the middle of a print
            again = "; Ctrl-C again stops at once, without saving" if number == signal.SIGINT else ""
            os.write(2, f"\nstopping after this batch or validation{again}\n".encode())

    def _ask_to_requeue(self, number: int, frame: FrameType | None) -> None:
        self.requeue = number
