import errno
import os
from pathlib import Path

import pytest
import torch

from pipelines.main import main
from pipelines.report import output, performance
from pipelines.report.output import write_report
from records import locks
from tests.helpers.runs import logits_for, write_run

LABELS = torch.arange(30) % 3


def test_main__a_full_disk_leaves_no_folder(tmp_path, monkeypatch, capsys):
    write_run(tmp_path / "runs/exp/mlp", logits_for(LABELS, 3), LABELS)

    def refuse(self, *args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "touch", refuse)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "of/mine/report")]) == 2
    assert "report.json could not be written: No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_append_rows__what_cannot_be_written_leaves_no_folder(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(performance, "write_rows", refuse)
    with pytest.raises(OSError, match="No space left"):
        performance.append_rows(tmp_path / "a/b/performance.csv", [])
    assert not list(tmp_path.iterdir())


def test_write_report__two_at_once_leave_one_whole(tmp_path, monkeypatch):
    """The second comes while the first writes, and waits for it."""
    taken = []

    def waits(path):
        taken.append(path)
        return locks.one_at_a_time(path)

    monkeypatch.setattr(output, "one_at_a_time", waits)
    write_report(tmp_path / "report", {"index.html": b"one", "figures/a.png": b"a"})
    write_report(tmp_path / "report", {"index.html": b"two"})
    assert taken == [tmp_path / "report" / output.LOCK] * 2
    left = {path.name for path in (tmp_path / "report").rglob("*") if path.is_file()}
    assert left == {"index.html", "report.json", output.LOCK}


def test_write_report__a_lock_alone_is_no_hindrance(tmp_path):
    (tmp_path / output.LOCK).touch()
    write_report(tmp_path, {"index.html": b"one"})
    assert (tmp_path / "index.html").read_bytes() == b"one"
