"""Files that were damaged, or made to do harm: each is read, or refused in words; nothing is written, started or asked.

FUZZ is how many inputs are drawn in all, 20,000 by `make fuzz`; the suite draws a few, always the same ones.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from datamodules import Digits, Manifest, Npz, TableData
from datamodules.files.decoding import decode
from lightning_modules import MLP
from lightning_modules.checkpoints import load_model
from pipelines.cli.errors import explain
from pipelines.stack.command import parse as parse_stack
from pipelines.sweep.command import parse as parse_sweep
from pipelines.sweep.plan import Study
from records.damaged_files import read_metrics
from records.result_files import read_predictions, read_result
from records.study_file import StudyFile
from tests.fuzz import inputs
from tests.helpers.confined import confined
from tests.helpers.faults import PYTHON_WORDS, run
from tests.helpers.training import fit

TOTAL = int(os.environ.get("FUZZ", "0"))


@dataclass(frozen=True)
class Reader:
    """Reads a kind of file.

    Args:
        name: of the file
        read: reads it
        share: of all inputs, in a thousand
        seconds: that it may take at most
    """

    name: str
    read: Callable[[Path], object]
    share: int = 80
    seconds: float = 20.0


def command(*words: str) -> Callable[[Path], object]:
    """Run a command over a file, in place of its error an error."""

    def read(path: Path) -> None:
        outcome = run(*words, path, "--run.root", path.parent / "runs")
        if outcome.status != 0:
            raise ValueError(outcome.said.partition("error: ")[2] or outcome.said)

    return read


def fitted(path: Path) -> None:
    """Read a config and train by it for a step."""
    quick = ("--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false", "--trainer.accelerator=cpu")
    command("fit", "--trainer.fast_dev_run=true", *quick, "--config")(path)


READERS = {
    "config": Reader("a.yaml", fitted, 30),
    "plan of a stack": Reader("a.yaml", lambda path: parse_stack(["--config", str(path)]), 30),
    "plan of a study": Reader("a.yaml", lambda path: Study.of(parse_sweep(["--config", str(path)])), 30),
    "manifest": Reader("a.csv", lambda path: Manifest(path=str(path)).info),
    "manifest in parquet": Reader("a.parquet", lambda path: Manifest(path=str(path)).info),
    "table": Reader("a.csv", lambda path: TableData(path=str(path), target="target").info),
    "image": Reader("a.png", lambda path: decode(path, (8, 8), 3), 240),
    "npz": Reader("a.npz", lambda path: Npz(path=str(path)).info),
    "checkpoint": Reader("a.ckpt", load_model, 80),
    "predictions": Reader("a.safetensors", read_predictions, 80),
    "result": Reader("result.json", read_result, 80),
    "metrics": Reader("metrics.csv", read_metrics, 80),
    "study": Reader("study.json", lambda path: StudyFile.read(path.parent), 50),
}


@pytest.fixture(scope="module")
def contents(tmp_path_factory):
    """What is written into the files, by kind."""
    root = tmp_path_factory.mktemp("fuzz")
    data = Digits(subsample=0.1)
    checkpoint = fit(MLP(data_info=data.info, hidden=[4]), data, root, max_epochs=1).read_bytes()
    study = StudyFile("test", ["accuracy"], {"model": ["a"], "seed": ["0"]}, ["seed"], {"a-0": ["a", "0"]})
    study.write(root)
    return {
        "config": inputs.damaged_text(inputs.CONFIG),
        "plan of a stack": inputs.damaged_text(inputs.plan()),
        "plan of a study": inputs.damaged_text(inputs.STUDY),
        "manifest": inputs.damaged_text(inputs.manifest()),
        "manifest in parquet": inputs.damaged(inputs.parquet()) | inputs.odd_parquet(),
        "table": inputs.damaged_text(inputs.numbers()),
        "image": inputs.images(),
        "npz": inputs.damaged(inputs.arrays()) | inputs.odd_arrays(),
        "checkpoint": inputs.damaged(checkpoint) | inputs.odd_checkpoint(checkpoint) | st.just(inputs.harmful()),
        "predictions": inputs.damaged(inputs.tensors()) | inputs.odd_tensors(),
        "result": inputs.damaged_text('{"accuracy": 0.5, "samples": {"train": 3}}'),
        "metrics": inputs.damaged_text("epoch,step,val/loss\n0,3,0.5\n1,6,0.25\n"),
        "study": inputs.damaged_text(next(root.glob("*.json")).read_text()),
    }


def faults_of(reader: Reader, content: bytes, folder: Path) -> list[str]:
    """Let a file be read, and return what was wrong with that."""
    path = folder / reader.name
    path.write_bytes(content)
    for number in range(6):
        (folder / f"{number}.png").write_bytes(inputs.picture("PNG"))
    said = ""
    # a run records which commit of this project it was
    with confined(folder, reader.seconds, programs=("git",)) as done:
        try:
            reader.read(path)
        except Exception as error:
            said = f"error: {explain(error)}"
    wrong = list(done)
    if PYTHON_WORDS.search(said):
        wrong.append(f"Python's words: {said[-600:]}")
    if said and len(said) < 12:
        wrong.append(f"no reason: {said}")
    if (folder / "harmed").exists():
        wrong.append("what is in the file was executed")
    return wrong


@pytest.mark.parametrize("kind", READERS)
def test_files__are_read_or_refused_in_words(kind, contents, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    reader = READERS[kind]
    few = 6 if reader.share <= 30 else 40
    total = sum(each.share for each in READERS.values())

    @settings(
        max_examples=max(few, -(-TOTAL * reader.share // total)),
        derandomize=not TOTAL,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(contents[kind])
    def check(content):
        assert faults_of(reader, content, tmp_path) == []

    check()


def test_confined__sees_what_is_done(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    with confined(inside, 5) as done:
        (inside / "a").write_text("x")
        assert done == []
        outside.write_text("x")
        os.system("true")
        outside.unlink()
    assert [entry.partition(" ")[0] for entry in done] == ["open", "os.system", "os.remove"]
