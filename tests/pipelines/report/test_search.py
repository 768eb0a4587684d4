import json

import pytest

from pipelines.report.build import build
from pipelines.report.options import ReportOptions
from pipelines.report.runs import find_runs
from records.search_file import NAME, SearchFile, SearchSpace, SearchTrial
from tests.helpers.reports import LABELS
from tests.helpers.runs import logits_for, write_run

SPACES = [SearchSpace("model.optimizer.lr", log=True), SearchSpace("model", choices=["mlp", "cnn"])]
STRENGTHS = (0.5, 2.4, 2.5)


def trial(number, state="complete", **facts):
    values = {"model.optimizer.lr": f"{0.001 * (number + 1)}", "model": ["mlp", "cnn"][number % 2]}
    numbers = {"model.optimizer.lr": 0.001 * (number + 1)}
    return SearchTrial(number, f"trial{number:04}", state, values, numbers, epochs=3, seconds=2.0, **facts)


def write_search(folder, trials, **facts):
    folder.mkdir(parents=True, exist_ok=True)
    SearchFile("val/accuracy", True, "TPE, median pruning", 6, SPACES, trials, **facts).write(folder)


@pytest.fixture
def search(tmp_path, undrawn):
    """Three trials, one that was ended early, one that failed, one over a limit, and a refit."""
    folder = tmp_path / "runs/s"
    for number, strength in enumerate(STRENGTHS):
        logits = logits_for(LABELS, 4, strength, number)
        write_run(folder / f"trial{number:04}", logits, LABELS, split="val", config={"width": number})
    write_run(folder / "trial0003")
    write_run(folder / "refit-trial0002", logits_for(LABELS, 4, 2.5, 9), LABELS)
    ended = [
        trial(3, "pruned", last=0.2),
        trial(4, "failed", why="it broke"),
        trial(5, "over", why="100 parameters, and max_parameters is 10"),
    ]
    complete = [trial(number, value=0.6 + number / 10, parameters=50) for number in range(3)]
    shares = {"model.optimizer.lr": 0.9, "model": 0.1}
    write_search(
        folder,
        [*complete, *ended],
        best=2,
        refit="refit-trial0002",
        fragment="best.yaml",
        importances=shares,
        limits={"max_parameters": 10},
    )
    return folder


def page_of(folder, out, split="test"):
    groups, absent, _, files = build(*find_runs([folder]), ReportOptions(str(out), split))
    return groups, absent, files


def test_search__is_shown_with_its_trials(search, tmp_path):
    groups, absent, files = page_of(search, tmp_path / "out")
    page = files["index.html"].decode()
    # its trials are no runs that lack a test
    assert absent == []
    assert [run.run.name for group in groups for run in group.runs] == ["refit-trial0002"]
    assert "search s: 3 of 6 trials complete" in page
    assert "3 complete, 1 ended early, 1 failed, 1 over a limit" in page
    assert "The best is trial 2 (model.optimizer.lr 0.003, model mlp): val/accuracy 0.8000." in page
    assert "on test, which chose nothing" in page
    assert "Limits: max_parameters 10." in page
    assert "it broke" in page
    assert "val/accuracy was 0.2000" in page
    assert {"figures/search_1_history.png", "figures/search_1_importances.png"} < set(files)
    assert "figures/search_1_parallel.svg" in files


def test_search__says_what_is_within_noise(search, tmp_path):
    page = page_of(search, tmp_path / "out", "val")[2]["index.html"].decode()
    assert "On the validation images, by accuracy: ≈ The other run" not in page
    assert "On the validation images, by accuracy: ≈ 1 of the other 2 runs cannot be told" in page


def test_search__over_seeds(tmp_path, undrawn):
    folder = tmp_path / "runs/s"
    for number, strength in enumerate(STRENGTHS[:2]):
        for seed in range(3):
            logits = logits_for(LABELS, 4, strength, seed)
            write_run(folder / f"trial{number:04}-seed{seed}", logits, LABELS, split="val", config={"width": number})
    trials = [trial(number, value=0.6 + number / 10) for number in range(2)]
    write_search(folder, trials, best=1, repeats=["seed"])
    page = page_of(folder, tmp_path / "out", "val")[2]["index.html"].decode()
    assert "means over seed" in page
    assert "The best by accuracy, trial0001, is told from each of the 1 others." in page


def test_search__a_damaged_file_is_named(search, tmp_path):
    content = json.loads((search / NAME).read_text())
    del content["trials"][0]["name"]
    (search / NAME).write_text(json.dumps(content))
    page = page_of(search, tmp_path / "out")[2]["index.html"].decode()
    assert "search.json" in page
    assert "search s:" not in page
