import json

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file, save_file

from pipelines.main import main, make_page
from pipelines.report.build import build
from pipelines.report.options import ReportOptions
from pipelines.report.runs import find_runs
from pipelines.report.sweeps import pairs_of
from records.study_file import StudyFile
from tests.helpers.reports import LABELS
from tests.helpers.runs import logits_for, write_run

METRICS = ["accuracy", "nll"]


def write_study(folder, runs, axes, repeats=("seed",), **facts):
    """Write the cells of a study that have a result: the strength of each, by its values; None plans it alone."""
    folder.mkdir(parents=True)
    cells = {"-".join(labels): list(labels) for labels in runs}
    StudyFile("test", METRICS, axes, list(repeats), cells, **facts).write(folder)
    for labels, strength in runs.items():
        if strength is not None:
            seed = int(labels[-1]) if labels[-1].isdigit() else 0
            config = {"seed_everything": seed, "width": sum(map(ord, labels[0]))}
            write_run(folder / "-".join(labels), logits_for(LABELS, 4, strength, seed), LABELS, config=config)
    return folder


def studies_of(folder, out):
    _, absent, studies, files = build(*find_runs([folder]), ReportOptions(str(out)))
    return absent, studies, files["index.html"].decode()


@pytest.fixture
def seeds(tmp_path, undrawn):
    """Three models and three seeds, of which one cell has no result."""
    strengths = {"weak": 0.5, "good": 2.4, "best": 2.5}
    runs = {(model, str(seed)): strength for model, strength in strengths.items() for seed in range(3)}
    runs["weak", "2"] = None
    axes = {"model": [*strengths], "seed": ["0", "1", "2"]}
    return write_study(tmp_path / "runs/s", runs, axes)


def test_study__is_shown_by_its_axes(seeds, tmp_path):
    absent, (study,), page = studies_of(seeds, tmp_path / "out")
    assert study.own_axes == ["model"]
    assert [(line.labels, len(line.runs), line.planned) for line in study.lines] == [
        (("best",), 3, 3),
        (("good",), 3, 3),
        (("weak",), 2, 3),
    ]
    figure = study.figure(study.lines[0], "accuracy")
    values = study.lines[0].values("accuracy").values()
    assert figure.mean == pytest.approx(sum(values) / 3)
    assert figure.low < figure.mean < figure.high
    assert [run.label for run in absent] == ["s/weak-2"]
    assert "1 of 9 planned cells have no result, so nothing is claimed for them: weak-2." in page
    assert "2 of 3" in page


def test_study__order_within_noise_says_so_and_counts_comparisons(seeds, tmp_path):
    _, (study,), page = studies_of(seeds, tmp_path / "out")
    pairs, count = pairs_of(study)
    assert count == 3
    assert [(pair.line.labels[0], pair.repeats, pair.told) for pair in pairs] == [
        ("good", 3, False),
        ("weak", 2, True),
    ]
    assert pairs[1].high < 0
    assert "≈ 1 of 2 others cannot be told from the best by accuracy, best: good." in page
    assert "corrected for 3 comparisons (Holm)" in page


def test_study__many_seeds_tell_lines_apart(tmp_path, undrawn):
    runs = {(model, str(seed)): value for model, value in (("a", 0.5), ("b", 3.0)) for seed in range(5)}
    folder = write_study(tmp_path / "runs/s", runs, {"model": ["a", "b"], "seed": list("01234")})
    _, (study,), page = studies_of(folder, tmp_path / "out")
    (pair,), count = pairs_of(study)
    assert (pair.line.labels, pair.told, count) == (("a",), True, 1)
    assert pair.p < 0.01
    assert "The best by accuracy, b, is told from each of the 1 others." in page


def test_study__nothing_is_claimed_before_the_first_result(tmp_path, undrawn):
    runs = {("a", "0"): None, ("b", "0"): None}
    folder = write_study(tmp_path / "runs/s", runs, {"model": ["a", "b"], "seed": ["0"]})
    _, (study,), page = studies_of(folder, tmp_path / "out")
    assert study.missing == ["a-0", "b-0"]
    assert "study s: 0 of 2 cells" in page
    assert "best by" not in page


def write_part(folder, name, part, strength):
    """Write a cell that was tested on a part of 120 samples."""
    ids = torch.arange(part, 120, 3)
    run = write_run(
        folder / name, logits_for(LABELS, 4, strength, 7)[ids], LABELS[ids], config={"width": int(10 * strength)}
    )

    tensors = load_file(run / "predictions.safetensors")
    save_file({**tensors, "test/id": ids}, run / "predictions.safetensors")
    result = json.loads((run / "result.json").read_text())
    result["evaluations"]["test"]["fingerprint"] = f"part {part}"
    result["test_by_source"] = {"x": {"accuracy": 1.0, "samples": 10}, "y": {"accuracy": 0.0, "samples": 30}}
    (run / "result.json").write_text(json.dumps(result))


def test_study__parts_are_one_data_set(tmp_path, undrawn):
    folder = tmp_path / "runs/cv"
    folder.mkdir(parents=True)
    axes = {"model": ["a", "b"], "fold": ["0", "1", "2"]}
    cells = {f"{model}-fold{fold}": [model, str(fold)] for model in "ab" for fold in range(3)}
    StudyFile("test", METRICS, axes, ["fold"], cells, pooled="fold", held_share=0.5).write(folder)
    for model, strength in (("a", 1.0), ("b", 2.0)):
        for part in range(3):
            if (model, part) != ("a", 2):
                write_part(folder, f"{model}-fold{part}", part, strength)
    _, (study,), page = studies_of(folder, tmp_path / "out")
    whole = logits_for(LABELS, 4, 2.0, 7).argmax(1) == LABELS
    best, other = study.lines
    figure = study.figure(best, "accuracy")
    assert best.labels == ("b",)
    assert figure.mean == pytest.approx(float(whole.float().mean()))
    assert figure.low < figure.mean < figure.high
    # of the other one a part is missing
    assert study.figure(other, "accuracy") is None
    assert "a: 1 of 3 parts have no result, so its predictions are not pooled." in page
    # the folds have no sections of their own
    assert "They saw" not in page
    assert "accuracy by source of the images, over all parts" in page
    assert "0.2500" in page


def test_study__a_sample_tested_twice_is_not_pooled(tmp_path, undrawn):
    folder = tmp_path / "runs/cv"
    folder.mkdir(parents=True)
    StudyFile("test", METRICS, {"fold": ["0", "1"]}, ["fold"], {"fold0": ["0"], "fold1": ["1"]}, "fold", 1.0).write(
        folder
    )
    for part in range(2):
        write_part(folder, f"fold{part}", 0, 1.0)
    _, (study,), page = studies_of(folder, tmp_path / "out")
    assert study.figure(study.lines[0], "accuracy") is None
    assert "40 samples were tested in two parts: nothing is pooled" in page


def test_study__of_another_split_says_how_it_is_reported(seeds, tmp_path, capsys):
    path = seeds / "study.json"
    path.unlink()
    StudyFile("val", METRICS, {"model": ["weak"]}, [], {"weak-0": ["weak"]}).write(seeds)
    _, studies, page = studies_of(seeds, tmp_path / "out")
    assert studies == []
    assert "The study s is measured on val: report it with --split val." in page


def test_study__a_damaged_file_is_told(seeds, tmp_path):
    (seeds / "study.json").write_text("{")
    _, studies, page = studies_of(seeds, tmp_path / "out")
    assert studies == []
    assert "study.json is damaged" in page


def test_make_page__prints_what_was_found(seeds, tmp_path, capsys):
    assert make_page(seeds, seeds / "report", "test", Console(width=100)).is_file()
    told = capsys.readouterr().out
    assert "s, measured on test" in told
    assert "1 of 9 cells have no result: weak-2" in told
    assert main(["report", str(seeds), "--out", str(tmp_path / "out")]) == 0
    assert "1 of 9 cells have no result: weak-2" in capsys.readouterr().out


def test_study__of_parts_of_the_data_says_what_more_brings(tmp_path, undrawn):
    folder = tmp_path / "runs/s"
    folder.mkdir(parents=True)
    shares = {"0.2": 0.8, "0.5": 1.4, "1": 2.0}
    axes = {"model": ["a"], "data.subsample": [*shares], "seed": ["0", "1"]}
    cells = {f"a-{share}-{seed}": ["a", share, str(seed)] for share in shares for seed in range(2)}
    StudyFile("test", METRICS, axes, ["seed"], cells).write(folder)
    for name, (_, share, seed) in cells.items():
        logits = logits_for(LABELS, 4, shares[share], int(seed))
        samples = {"train": round(1000 * float(share))}
        write_run(folder / name, logits, LABELS, config={"seed_everything": int(seed)}, samples=samples)
    *_, page = studies_of(folder, tmp_path / "out")
    for step in ("0.2 to 0.5", "0.5 to 1", "0.2 to 1"):
        assert step in page
    assert "gains along data.subsample, paired over seed" in page
    assert "with twice as many (extrapolated)" in page
    assert "no run was trained on as much" in page


def test_study__pairs_of_sources_along_the_parts_of_the_data(tmp_path, undrawn):
    folder = tmp_path / "runs/s"
    folder.mkdir(parents=True)
    axes = {"model": ["a"], "data.subsample": ["0.2", "1"], "seed": ["0", "1"]}
    cells = {f"a-{share}-{seed}": ["a", share, str(seed)] for share in ("0.2", "1") for seed in range(2)}
    StudyFile("test", METRICS, axes, ["seed"], cells).write(folder)
    for name, (_, share, seed) in cells.items():
        run = write_run(folder / name, logits_for(LABELS, 4, 1.0, int(seed)), LABELS, config={"width": 1})
        result = json.loads((run / "result.json").read_text())
        # of the second class, source y has no images
        values = {"0": {"x": {"x": 0.5, "y": 0.25 + float(share) / 2 + int(seed) / 10}}, "1": {"y": {"x": None}}}
        result |= {"test_source_pairs": values, "test_by_source": {"x": {"accuracy": 0.75, "samples": 4}}}
        (run / "result.json").write_text(json.dumps(result))
    *_, page = studies_of(folder, tmp_path / "out")
    assert "accuracy by source of the images, over all runs" in page
    assert "pairs of sources (± standard deviation between runs)" in page
    assert "undefined" in page
    # the means of .35 and .45, and of .75 and .85
    assert "0.4000" in page
    assert "0.8000" in page
    assert "a: AUROC of pairs of sources along data.subsample" in page
    assert "F1 of pairs of sources along" not in page
    assert "checkpoint in MB" in page
