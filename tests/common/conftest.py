import sys

import pytest


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """A module beside a run that leaves a mark when it is imported."""
    (tmp_path / "notes.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Note: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "ran"
    sys.modules.pop("notes", None)
