"""Fixtures of several tests of reports."""

import pytest
from matplotlib.figure import Figure

from tests.helpers.reports import LABELS
from tests.helpers.runs import logits_for, write_run


@pytest.fixture
def undrawn(monkeypatch):
    """Drawing takes most of the time; the module's report is drawn before this."""
    monkeypatch.setattr(Figure, "savefig", lambda self, file, **options: file.write(b"drawn"))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Two widths and two seeds, one run that is not tested, one that was only started, one that was planned."""
    root = tmp_path_factory.mktemp("study")
    for width, strength in ((8, 1.5), (16, 2.5)):
        for seed in range(2):
            logits = logits_for(LABELS, 4, strength, seed)
            config = {"width": width, "seed_everything": seed}
            write_run(root / "exp" / f"w{width}-seed{seed}", logits, LABELS, config=config)
    write_run(root / "exp" / "untested", logits_for(LABELS[:9], 4), LABELS[:9], split="val")
    started = write_run(root / "exp" / "started")
    for file in started.iterdir():
        if file.name != "config.yaml":
            file.unlink()
    (root / "exp" / "plan.yaml").write_text("planned: [w8-seed0, w32-seed0]\n")
    return root
