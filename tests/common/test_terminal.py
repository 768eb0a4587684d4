import codecs
import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from common.terminal import HANDLER, SteadyStream, steady, steady_output


def encoded(encoding, errors="strict"):
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=errors, write_through=True)


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8", "shift_jis", "koi8-r"])
@pytest.mark.parametrize("errors", ["strict", "surrogateescape", "backslashreplace"])
def test_steady_output__takes_every_character(encoding, errors, monkeypatch):
    stream = encoded(encoding, errors)
    monkeypatch.setattr(sys, "stdout", stream)
    with steady_output():
        # a bullet, a dash, a line of a table, a name that is no text, and one beyond 16 bits
        print("• – ┃ … \udce9 画 💡")
    # what the encoding has is printed as it is
    assert stream.buffer.getvalue().decode(encoding)
    assert sys.stdout is stream


def test_steady_output__shows_plain_characters_in_place_of_those_that_lack(monkeypatch):
    stream = encoded("ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    with steady_output():
        print("a – b … • é")
    assert stream.buffer.getvalue().split() == b"a - b ... * \\xe9".split()


def test_steady_output__draws_tables_of_rich(monkeypatch):
    stream = encoded("latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    with steady_output():
        table = Table("name", title="•")
        table.add_row("–")
        Console().print(table)
    text = stream.buffer.getvalue().decode("latin-1")
    assert "\\u" not in text
    assert "| -" in text


def test_steady_output__a_stream_that_cannot_be_told_how_to_encode(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", codecs.getwriter("ascii")(raw))
    with steady_output():
        print("a – b")
    assert raw.getvalue() == b"a - b\n"


class Broken(io.StringIO):
    def __init__(self, number):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


def test_steady_output__says_that_a_full_disk_took_nothing(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Broken(errno.ENOSPC))
    with steady_output():
        print("a")
        print("b", flush=True)
    told = capsys.readouterr().err
    assert "what was printed is lost ([Errno 28] No space left on device); the run is not" in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize("stream", [Broken(errno.EPIPE), None])
def test_steady_output__says_nothing_where_nobody_reads(stream, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", stream)
    with steady_output():
        print("a")
        sys.stdout.writelines(["b", "c"])
    assert capsys.readouterr().err == ""


def test_steady_output__both_streams_gone(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Broken(errno.EIO))
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    with steady_output():
        print("a")
        print("b", file=sys.stderr)


def test_steady__once_is_enough():
    stream = steady(encoded("ascii"))
    assert isinstance(stream, SteadyStream)
    assert steady(stream) is stream
    assert stream.errors == HANDLER


PROGRAM = """
import sys
from pathlib import Path
from common.terminal import steady_output
with steady_output():
    for number in range(20_000):
        print("line", number)
sys.exit(0)
"""


@pytest.mark.parametrize("shell", ["{} | head -1", "{} >&-", "{} >&- 2>&-", "{} > /dev/full", "{} > /dev/full 2>&1"])
def test_steady_output__the_exit_status_is_that_of_the_work(shell):
    command = shell.format(f'{{ "{sys.executable}" -c "$PROGRAM"; echo status $? >&3; }}')
    environment = {**os.environ, "PROGRAM": PROGRAM, "PYTHONPATH": str(Path.cwd())}
    ended = subprocess.run(
        ["bash", "-c", f"exec 3>&1; {command}"], env=environment, capture_output=True, text=True, check=False
    )
    assert "status 0" in ended.stdout
    assert "Traceback" not in ended.stderr
    assert "Exception ignored" not in ended.stderr
