"""Fixtures of several kinds of weights."""

import pytest


@pytest.fixture
def heard(caplog, monkeypatch):
    """Lightning keeps its messages to itself."""
    import logging

    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "propagate", True)
    caplog.set_level(logging.INFO)
