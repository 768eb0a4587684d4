"""The error that ends a run because it was asked to stop."""

import signal


class StoppedError(Exception):
    """Training was stopped by a signal, and its state is saved. All processes raise it alike.

    Args:
        number: of the signal
    """

    on_all_processes = True

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_status = 128 + number
