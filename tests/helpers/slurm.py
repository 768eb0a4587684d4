"""Programs that stand for SLURM's where it is not."""

import os
from pathlib import Path


def stand_in(folder: Path, monkeypatch, **programs: str) -> Path:
    """Put shell scripts into the path under the names of SLURM's programs.

    Args:
        folder: where to keep them
        monkeypatch: of the test
        programs: what each does; $OUT is the file that it may write to, which is returned
    """
    place, out = folder / "bin", folder / "asked"
    place.mkdir(exist_ok=True)
    for name, body in programs.items():
        (place / name).write_text(f'#!/bin/sh\nOUT="{out}"\n{body}\n')
        (place / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)
    return out
