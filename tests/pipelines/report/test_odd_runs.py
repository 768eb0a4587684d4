"""Runs that leak, disagree, are damaged or have odd names: what a report says of them."""

import csv
import html
import json
import re
import shutil
from xml.etree import ElementTree

import pytest
import torch
from safetensors.torch import load_file, save_file

from records.recorded import sums_of
from records.result_files import write_json
from records.tensor_files import with_checksum
from tests.helpers.reports import LABELS, report, rows
from tests.helpers.runs import logits_for, write_run

pytestmark = pytest.mark.usefixtures("undrawn")


def leaking(folder, strength=9.0):
    logits = logits_for(LABELS, 4, strength, 5)
    allowed = {"allowed": ["mlp was fitted on 12 of the meta-training samples"], "warnings": []}
    return write_run(folder, logits, LABELS, leakage=allowed)


def test_report__leakage_is_said_and_never_the_best(study, tmp_path, capsys):
    shutil.copytree(study, tmp_path / "runs")
    leaking(tmp_path / "runs/exp/stack")
    page = report(tmp_path / "out", tmp_path / "runs")
    assert page.count("mlp was fitted on 12 of the meta-training samples") >= 2
    row = next(line for line in re.findall(r"<tr>.*?</tr>", page, re.S) if "stack (LEAKAGE)" in line)
    assert "star" not in row
    assert "stack (LEAKAGE)" in capsys.readouterr().out
    table = {row["run"]: row for row in rows(tmp_path / "out/comparison.csv")}
    assert float(table["stack"]["accuracy"]) == 1
    assert table["stack"]["leakage"]
    # compared with the best that does not leak
    assert float(table["stack"]["accuracy_less_best"]) > 0


def test_report__a_model_fitted_on_test_samples_leaks(tmp_path):
    write_run(
        tmp_path / "runs/exp/mlp",
        logits_for(LABELS, 4),
        LABELS,
        evaluations={"test": {"samples": 120, "fingerprint": "x", "fitted_on": 7}},
    )
    assert "fitted on copies of 7 of the test samples" in report(tmp_path / "out", tmp_path / "runs")


def test_report__unknown_images_and_changed_data_stand_beside_the_name(tmp_path, capsys):
    changed = {"samples": 120, "fingerprint": "x", "fitted_on": 0, "data_changed": ["2 labels differ"]}
    facts = {"evaluations": {"test": changed | {"notes": ["are the labels shifted?"]}}, "unknown_images": ["x.pt"]}
    write_run(tmp_path / "runs/exp/mlp", logits_for(LABELS, 4), LABELS, **facts)
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "mlp (unknown images, data changed)" in page
    assert "mlp (unknown images, data" in " ".join(capsys.readouterr().out.split())
    (row,) = rows(tmp_path / "out/comparison.csv")
    for sentence in (
        "the model was fitted on unknown images: x.pt",
        "the data has changed since it was trained on it: 2 labels differ",
        "are the labels shifted?",
    ):
        assert sentence in page
        assert sentence in row["notes"]


def test_report__other_samples_are_not_compared(tmp_path):
    write_run(tmp_path / "runs/one/mlp", logits_for(LABELS, 4), LABELS)
    write_run(tmp_path / "runs/two/mlp", logits_for(LABELS[:60], 4, 9), LABELS[:60])
    # the second run has as many samples and the same ids, but other labels
    write_run(tmp_path / "runs/two/cnn", logits_for(3 - LABELS, 4, 9), 3 - LABELS)
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "They saw 3 different sets of samples" in page
    assert 'star"' not in page
    assert len({row["samples_group"] for row in rows(tmp_path / "out/comparison.csv")}) == 3


def test_report__damaged_files_are_named_and_the_rest_goes_on(study, tmp_path, capsys):
    shutil.copytree(study, tmp_path / "runs")
    (tmp_path / "runs/exp/w8-seed0/result.json").write_text('{"experiment": "exp"')
    (tmp_path / "runs/exp/w8-seed1/predictions.safetensors").write_bytes(b"not a tensor")
    (tmp_path / "runs/exp/w16-seed0/config.yaml").write_text("a: [1")
    (tmp_path / "runs/exp/w16-seed1/metrics.csv").write_bytes(b"\xff\xfe\x00epoch,\n\x80")
    page = report(tmp_path / "out", tmp_path / "runs")
    printed = capsys.readouterr().out
    assert "w8-seed0/result.json is damaged" in printed
    assert "w8-seed1/predictions.safetensors is damaged" in page
    assert "w16-seed0/config.yaml" in printed
    assert "w16-seed1/metrics.csv is damaged" in printed
    table = {row["run"]: row for row in rows(tmp_path / "out/comparison.csv")}
    assert not table["w8-seed0"]["accuracy"]
    # result.json says so, but nothing says how sure it is
    assert table["w8-seed1"]["accuracy"]
    assert not table["w8-seed1"]["accuracy_low"]
    assert table["w16-seed1"]["accuracy_low"]


def test_report__class_names_that_are_no_list(tmp_path):
    folder = write_run(tmp_path / "runs/exp/mlp", logits_for(LABELS, 4), LABELS)
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps(result | {"class_names": 4}))
    assert "mlp" in report(tmp_path / "out", tmp_path / "runs")


def test_report__not_a_number(tmp_path):
    logits = logits_for(LABELS, 4)
    folder = write_run(tmp_path / "runs/exp/mlp", logits, LABELS)
    from safetensors.torch import save_file

    logits[3, 1] = float("nan")
    columns = {"test/id": torch.arange(120), "test/label": LABELS, "test/logits": logits}
    save_file(columns, folder / "predictions.safetensors")
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "1 of 120 test predictions are NaN or infinite" in page
    result = json.loads((folder / "result.json").read_text())
    result["test"] = {"accuracy": float("nan")}
    (folder / "result.json").write_text(json.dumps(result))
    assert "holds no finite test metric" in report(tmp_path / "out", tmp_path / "runs")


def test_report__predictions_and_result_that_disagree(tmp_path):
    folder = write_run(tmp_path / "runs/exp/mlp", logits_for(LABELS, 4), LABELS)
    result = json.loads((folder / "result.json").read_text())
    result["test"]["accuracy"] = 0.99
    (folder / "result.json").write_text(json.dumps(result))
    assert "result.json says accuracy 0.9900, its predictions" in report(tmp_path / "out", tmp_path / "runs")


def test_report__says_when_something_else_was_tested(tmp_path):
    evaluated = {"samples": 8, "checkpoint": "runs/exp/x/checkpoints/best.ckpt"}
    for name, beside in {
        "plain": {},
        "adjusted": {"logit_adjustment": 1.5},
        "mirrored": {"tta": "flip"},
        "last": {"checkpoint": "elsewhere/last.ckpt"},
    }.items():
        entry = {"test": evaluated | beside}
        folder = write_run(tmp_path / "runs/exp" / name, logits_for(LABELS, 4), LABELS, evaluations=entry)
        (folder / "checkpoints").mkdir()
        (folder / "checkpoints/best.ckpt").touch()
    entry = {"test": evaluated | {"logit_adjustment": 1.0}}
    trained = {"logit_adjustment": 1.0}
    write_run(tmp_path / "runs/exp/trained", logits_for(LABELS, 4), LABELS, config=trained, evaluations=entry)
    # without its weights, nothing is known of which they were
    write_run(tmp_path / "runs/exp/copied", logits_for(LABELS, 4), LABELS, evaluations={"test": evaluated})
    report(tmp_path / "out", tmp_path / "runs")
    assert {row["run"]: row["notes"] for row in rows(tmp_path / "out/comparison.csv")} == {
        "plain": "",
        "adjusted": "evaluated with --model.logit_adjustment 1.5; its config says 0",
        "mirrored": "evaluated with --model.tta flip; its config says none",
        "last": "evaluated from last.ckpt, not best.ckpt",
        "trained": "",
        "copied": "",
    }


def test_report__names_that_a_spreadsheet_would_run(tmp_path):
    for name in ("=cmd()", "+a", "@b"):
        write_run(tmp_path / "runs" / name / "mlp", logits_for(LABELS, 4), LABELS, notes=["=1+1"])
    report(tmp_path / "out", tmp_path / "runs")
    for file in ("comparison.csv", "performance.csv"):
        with (tmp_path / "out" / file).open(newline="") as opened:
            table = list(csv.reader(opened))
        assert len(table) == 4
        assert not [cell for row in table for cell in row if cell.startswith(tuple("=+@\t\r"))]


@pytest.mark.parametrize(
    ("labels", "classes", "said"),
    [
        (torch.tensor([0, 1, 1, 3]), 4, "1 of 4 classes have no sample: class 2"),
        (torch.zeros(5, dtype=torch.int64), 3, "All samples are of one class: AUROC is not defined"),
        (torch.tensor([1]), 2, "A single sample has no spread"),
    ],
)
def test_report__few_samples_and_absent_classes(tmp_path, labels, classes, said):
    for number in range(2):
        logits = logits_for(labels, classes, seed=number)
        write_run(tmp_path / f"runs/exp/mlp{number}", logits, labels, config={"width": number})
    assert said in report(tmp_path / "out", tmp_path / "runs")


def test_report__names_are_text_and_nothing_else(tmp_path):
    names = ["<script>alert(1)</script>", "$x$ & _", "\u96ea", 'quo"te']
    write_run(tmp_path / "runs/exp/<b>bold$x$", logits_for(LABELS, 4), LABELS, class_names=names)
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "<b>bold" not in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_report__names_that_no_picture_can_hold(tmp_path, monkeypatch):
    monkeypatch.undo()
    names = ["\x01", "$\udcff", "\u96ea", "a--b"]
    write_run(tmp_path / "runs/exp/mlp\x02", logits_for(LABELS, 4), LABELS, class_names=names)
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "mlp\ufffd" in page
    pictures = list((tmp_path / "out/figures").glob("*.svg"))
    assert pictures
    for picture in pictures:
        ElementTree.parse(picture)


def flipped(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_report__a_flipped_bit_in_any_file_of_a_run_is_told(tmp_path, capsys):
    # result.json holds the checksums of the other files, as the commands write it
    folder = write_run(tmp_path / "runs/exp/mlp", logits_for(LABELS, 4), LABELS)
    result = json.loads((folder / "result.json").read_text())
    files = sums_of([folder / "config.yaml", folder / "metrics.csv"])
    write_json(folder / "result.json", result | {"files": files})
    columns = load_file(folder / "predictions.safetensors")
    save_file(columns, folder / "predictions.safetensors", with_checksum(columns))
    report(tmp_path / "whole", tmp_path / "runs")
    assert "damaged" not in capsys.readouterr().out
    for name, place, found in (
        ("config.yaml", 20, "config.yaml is damaged (its content has changed since the run ended)"),
        ("metrics.csv", -5, "metrics.csv is damaged (its content has changed since the run ended)"),
        ("result.json", -100, "result.json is damaged"),
        ("predictions.safetensors", -3, "predictions.safetensors is damaged (its content has changed"),
    ):
        shutil.copytree(tmp_path / "runs", tmp_path / name)
        flipped(tmp_path / name / "exp/mlp" / name, place)
        page = html.unescape(report(tmp_path / f"{name} out", tmp_path / name))
        assert found in capsys.readouterr().out + page
