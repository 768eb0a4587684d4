import signal
from types import SimpleNamespace

import pytest

from callbacks.signals import Signals
from common.stopped import StoppedError


@pytest.fixture
def signals():
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    connector = SimpleNamespace(cluster_environment=None)
    taken = Signals()
    taken.install(SimpleNamespace(received_sigterm=False, is_global_zero=False, _accelerator_connector=connector))
    yield taken
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals__are_kept_until_they_are_asked_for(signals, number):
    assert not signals.stop
    signal.raise_signal(number)
    assert signals.stop == number


def test_signals__ctrl_c_twice_stops_at_once(signals):
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_signals__one_that_came_before_training_counts():
    trainer = SimpleNamespace(
        received_sigterm=True,
        is_global_zero=False,
        _accelerator_connector=SimpleNamespace(cluster_environment=None),
    )
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    early = Signals()
    early.install(trainer)
    for number, handler in kept.items():
        signal.signal(number, handler)
    assert early.stop == signal.SIGTERM


def test_stopped_error__ends_with_the_shells_status():
    assert (StoppedError(signal.SIGINT).exit_status, StoppedError(signal.SIGTERM).exit_status) == (130, 143)
