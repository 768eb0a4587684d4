"""What a person chooses of a report: columns, the metric that ranks, a baseline, curves; folds, sources and losses."""

import json
import re

import pytest
import torch
from torchmetrics.functional.classification import multiclass_cohen_kappa

from measures.by_source import source_entries
from measures.classification import classification_metrics
from measures.problem import Problem
from pipelines.main import main
from pipelines.report.build import build
from pipelines.report.comparison import compare
from pipelines.report.configurations import configurations_of
from pipelines.report.options import ReportOptions
from pipelines.report.page import Picture, Table, Text
from pipelines.report.pictures import curves_picture
from pipelines.report.runs import find_runs
from pipelines.report.scaling import curves_of
from pipelines.report.sections import comparison_section, folds_section
from tests.helpers.reports import LABELS, rows
from tests.helpers.runs import logits_for, write_run

pytestmark = pytest.mark.usefixtures("undrawn")
LOSS = {"class_path": "lightning_modules.CrossEntropy", "init_args": {}}
FOCAL = {"class_path": "lightning_modules.Focal", "init_args": {"gamma": 2.0}}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A plain run, ablations of it, and another model, at two sizes."""
    root = tmp_path_factory.mktemp("chosen")
    names = [f"class {number}" for number in range(4)]
    sources = torch.arange(120) // 7 % 2
    for number, (name, strength, model, data, loss) in enumerate(
        (
            ("plain", 2.0, "SmallCNN", {}, LOSS),
            ("mixup", 2.4, "SmallCNN", {"mixup": 0.2}, LOSS),
            ("balanced", 1.9, "SmallCNN", {"sampler": "balanced"}, LOSS),
            ("focal", 1.8, "SmallCNN", {}, FOCAL),
            ("small", 1.2, "SmallCNN", {"subsample": 0.1}, LOSS),
            ("mlp", 1.5, "MLP", {}, LOSS),
            ("mlp-small", 0.8, "MLP", {"subsample": 0.1}, LOSS),
        )
    ):
        logits = logits_for(LABELS, 4, strength, number)
        options = {"mixup": 0.0, "sampler": "random", "subsample": 1.0, **data}
        facts = source_entries("test", logits, LABELS, sources, names, ["north", "south"])
        write_run(root / "exp" / name, logits, LABELS, config={"loss": loss}, data=options, model=model, **facts)
    (root / "exp/plain/checkpoints").mkdir()
    (root / "exp/plain/checkpoints/best.ckpt").write_bytes(bytes(1_500_000))
    return root


def found(runs, **options):
    chosen = ReportOptions(**options)
    groups, _, _, files = build(*find_runs([runs]), chosen)
    section, _ = comparison_section(groups[0], 1, 1, chosen)
    return groups, section, files["index.html"].decode()


def parts(section):
    return {part.title: part for part in section.shown_parts}


def table(part):
    return next(block for block in part.blocks if isinstance(block, Table))


def column(shown, name):
    place = list(shown.columns).index(name)
    return {row[0].text: row[place] for row in shown.rows}


def test_metrics__are_the_columns_and_rank_by_sorts(runs, tmp_path):
    out = tmp_path / "out"
    words = ["--metrics", "accuracy,precision_weighted, recall_macro", "--rank_by", "nll", "--out", str(out)]
    assert main(["report", str(runs), *words]) == 0
    (group, *_), section, _ = found(runs, metrics="accuracy,precision_weighted,recall_macro", rank_by="nll")
    shown = table(parts(section)["runs"])
    assert shown.columns[1:5] == ["accuracy", "precision weighted", "recall macro", "accuracy less best"]
    values = [run.value("nll") for run in group.runs]
    assert values == sorted(values)
    captions = [block.caption for block in section.all_blocks if isinstance(block, Picture)]
    assert any(caption.startswith("nll with 95 % intervals") for caption in captions)
    row = next(row for row in rows(out / "comparison.csv") if row["run"] == "mixup")
    assert float(row["precision_weighted"]) > 0.5
    assert row["accuracy"]
    assert row["ece"]
    assert row["confidence_right"]


def test_metrics__computed_where_result_json_has_them_not(tmp_path):
    folder = write_run(tmp_path / "exp/a", logits_for(LABELS, 4), LABELS)
    (folder / "result.json").write_text(re.sub(r'"recall_macro": [\d.]+, ', "", (folder / "result.json").read_text()))
    (group,) = compare(find_runs([tmp_path])[0], "test", ("recall_macro",))
    assert group.runs[0].value("recall_macro") == pytest.approx(group.runs[0].value("balanced_accuracy"))


def test_metrics__of_ordered_classes(tmp_path, capsys):
    """Computed from predictions where result.json has them not, and where it has, taken from there."""
    for number, name in enumerate(("a", "b", "c")):
        ordinal = Problem(ordinal=True)
        logits = logits_for(LABELS, 4, 1.5 + number, number)
        folder = write_run(tmp_path / "exp" / name, logits, LABELS, data={"ordinal": name != "c"})
        if name != "c":
            result = json.loads((folder / "result.json").read_text())
            result["test"] |= classification_metrics(logits, LABELS, ordinal)
            (folder / "result.json").write_text(json.dumps(result))
    words = ["--metrics", "quadratic_kappa,mean_absolute_error", "--rank_by", "quadratic_kappa", "--baseline", "a"]
    out = tmp_path / "out"
    assert main(["report", str(tmp_path / "exp"), *words, "--out", str(out)]) == 0
    assert "quadratic kappa" in capsys.readouterr().out
    table_of = {row["run"]: row for row in rows(out / "comparison.csv")}
    for number, name in enumerate(("a", "b", "c")):
        called = logits_for(LABELS, 4, 1.5 + number, number).argmax(1)
        kappa = multiclass_cohen_kappa(called, LABELS, 4, weights="quadratic")
        assert float(table_of[name]["quadratic_kappa"]) == pytest.approx(float(kappa), abs=1e-5)
        assert float(table_of[name]["mean_absolute_error"]) == pytest.approx((called - LABELS).abs().double().mean())
        assert ("classes count as ordered" in table_of[name]["notes"]) is (name == "c")
    page = (out / "index.html").read_text()
    assert "best by quadratic kappa" in page
    assert "quadratic kappa instead" not in page


@pytest.mark.parametrize("words", [["--metrics", "acuracy"], ["--rank_by", "acuracy"]])
def test_metrics__unknown(runs, tmp_path, capsys, words):
    assert main(["report", str(runs), *words, "--out", str(tmp_path / "out")]) == 2
    assert "no run has the metric 'acuracy'; did you mean accuracy?" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_runs_table__size_of_the_checkpoint(runs):
    shown = [block for block in parts(found(runs)[1])["runs"].blocks if isinstance(block, Table)][1]
    sizes = column(shown, "checkpoint in MB")
    assert (sizes["plain"].text, sizes["mlp"].text) == ("1.50", "–")


def test_confidence__of_right_and_wrong_predictions(runs):
    (group, *_), section, _ = found(runs)
    shown = column(table(parts(section)["confidence"]), "of wrong predictions")
    plain = next(run for run in group.runs if run.run.name == "plain")
    assert shown["plain"].text == f"{plain.confidence['confidence_wrong']:.4f}"
    assert all(cell.small.startswith("± ") for cell in shown.values())


def test_baseline__differences_and_a_sentence_an_option(runs):
    groups, _, page = found(runs, baseline="exp/plain")
    plain = next(run for run in groups[0].runs if run.run.name == "plain")
    section, _ = comparison_section(groups[0], 1, 1, ReportOptions(), plain)
    part = parts(section)["baseline"]
    said = [block.text for block in part.blocks if isinstance(block, Text)]
    (mixup,) = (text for text in said if text.startswith("data.mixup 0.2 instead of 0.0: accuracy "))
    assert "nll" in mixup
    assert mixup.endswith("(mixup).")
    assert any(text.startswith("data.sampler balanced instead of random: ") for text in said)
    # the smaller MLP differs in its size, too
    (model,) = (text for text in said if text.startswith("model MLP instead of SmallCNN: "))
    assert model.endswith("(mlp).")
    shown = table(part)
    assert len(shown.rows) == 6
    change = column(shown, "accuracy")["mlp"]
    accuracy = {run.name: run.value("accuracy") for run in groups[0].runs}
    assert float(change.text.lstrip("* ")) == pytest.approx(accuracy["mlp"] - accuracy["plain"], abs=1e-4)
    assert " to " in change.small
    assert "each run less plain" in page


@pytest.mark.parametrize(
    ("name", "said"),
    [("plane", "no run with a result has this name; did you mean plain?"), ("", "no run with a result has this name")],
)
def test_baseline__unknown(runs, tmp_path, capsys, name, said):
    assert main(["report", str(runs), "--baseline", name, "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err


def test_scaling__a_line_a_model(runs):
    (group, *_), _, page = found(runs, x="data.subsample")
    curves, left = curves_of(group.runs, "data.subsample", "model", "accuracy")
    assert left == 0
    assert {name: {place: len(values) for place, values in curve.items()} for name, curve in curves.items()} == {
        "MLP": {0.1: 1, 1.0: 1},
        "SmallCNN": {0.1: 1, 1.0: 4},
    }
    assert "mean accuracy along data.subsample" in page
    # a fact of the runs, and what is no number
    assert set(curves_of(group.runs, "parameters", "model", "accuracy")[0]["MLP"]) == {1234.0}
    assert curves_of(group.runs, "data.sampler", "model", "accuracy") == ({}, 7)
    assert (
        "No scaling curves: the runs do not have two values of data.sampler that are numbers."
        in found(runs, x="data.sampler")[2]
    )


def test_sources__of_all_runs_and_pairs_of_the_best(runs):
    _, section, _ = found(runs)
    tables = [block for block in parts(section)["sources"].blocks if isinstance(block, Table)]
    assert [shown.caption.split(" of ")[0] for shown in tables] == ["runs by source", "pairs"]
    assert {row[1].text for row in tables[0].rows} == {"north", "south"}
    assert len(tables[1].rows) == 16
    assert list(tables[1].columns[3:]) == ["AUROC", "F1", "accuracy"]


def test_options__sampler_and_mixup_are_axes(runs):
    _, section, _ = found(runs)
    said = [block.text for block in parts(section)["options"].blocks if isinstance(block, Text)]
    for name in ("data.mixup", "data.sampler", "data.subsample", "model", "model.loss"):
        assert name in said[0].rstrip(".").replace(",", "").split()
    assert "model.loss.gamma" not in said[0]


def test_curves__different_losses_are_not_laid_over_each_other(runs, tmp_path):
    (group, *_), _, _ = found(runs)
    picture = curves_picture(configurations_of(group.runs), "x")
    assert "minimise different losses" in picture.caption
    assert "loss" not in picture.alt
    alike = [run for run in group.runs if run.settings["model.loss"] == "CrossEntropy"]
    assert "val/loss" in curves_picture(configurations_of(alike), "x").alt


def test_configurations__folds_are_one_row(tmp_path):
    for fold in range(3):
        data = {"num_folds": 3, "fold": fold}
        write_run(tmp_path / f"exp/mlp-fold{fold}", logits_for(LABELS, 4, 2, fold), LABELS, data=data)
    write_run(tmp_path / "exp/other", logits_for(LABELS, 4, 1, 9), LABELS, config={"width": 9})
    _, section, _ = found(tmp_path)
    shown = table(parts(section)["means"])
    assert shown.caption.startswith("means over runs that differ in their fold alone")
    assert [(row[0].text, row[1].text) for row in shown.rows] == [("mlp", "3"), ("other", "1")]
    assert shown.rows[0][2].small.startswith("± ")


def test_folds__on_samples_of_their_own(tmp_path):
    for fold in range(3):
        labels = torch.arange(60 + fold) % 4
        data = {"num_folds": 3, "fold": fold}
        write_run(tmp_path / f"exp/mlp-fold{fold}", logits_for(labels, 4, 2, fold), labels, data=data, split="val")
    groups = compare(find_runs([tmp_path])[0], "val")
    assert len(groups) == 3
    section = folds_section(groups)
    (row,) = section.blocks[1].rows
    values = torch.tensor([group.runs[0].value("accuracy") for group in groups], dtype=torch.float64)
    assert (row[0].text, row[1].text) == ("mlp", "3")
    assert (row[2].text, row[2].small) == (f"{values.mean():.4f}", f"± {values.std():.4f}")
    assert folds_section(groups[:1]) is None
