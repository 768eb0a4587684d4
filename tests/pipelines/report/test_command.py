import csv
import html
import json
import re
import shutil
from xml.etree import ElementTree

import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from pipelines.main import main
from pipelines.report.runs import planned_runs
from records.recorded import sums_of
from records.result_files import write_json
from records.tensor_files import with_checksum
from tests.helpers.runs import logits_for, write_run

LABELS = torch.arange(120) % 4


@pytest.fixture(autouse=True)
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


@pytest.fixture(scope="module")
def reported(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "report"
    assert main(["report", str(study), "--out", str(out)]) == 0
    return out


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def report(out, *paths):
    assert main(["report", *map(str, paths), "--out", str(out)]) == 0
    return (out / "index.html").read_text()


def test_report__numbers_are_those_of_scikit_learn(reported):
    found = {row["run"]: row for row in rows(reported / "comparison.csv") if row["state"] == "tested"}
    assert len(found) == 4
    for name, width in (("w8-seed1", 1.5), ("w16-seed0", 2.5)):
        logits = logits_for(LABELS, 4, width, int(name[-1])).double()
        probabilities, predicted = logits.softmax(1).numpy(), logits.argmax(1).numpy()
        expected = {
            "accuracy": accuracy_score(LABELS, predicted),
            "balanced_accuracy": balanced_accuracy_score(LABELS, predicted),
            "f1_macro": f1_score(LABELS, predicted, average="macro"),
            "auroc": roc_auc_score(LABELS, probabilities, multi_class="ovr"),
            "nll": log_loss(LABELS, probabilities),
        }
        for metric, value in expected.items():
            assert float(found[name][metric]) == pytest.approx(value, abs=1e-6)
            assert float(found[name][f"{metric}_low"]) < value < float(found[name][f"{metric}_high"])


def test_report__says_what_is_missing_and_claims_nothing_of_it(reported):
    missing = {row["run"]: row for row in rows(reported / "comparison.csv") if row["state"] != "tested"}
    assert missing["untested"]["state"] == "trained, no test result"
    assert missing["started"]["state"].startswith("no result")
    assert missing["exp/w32-seed0"]["state"] == "planned, not started"
    assert "exp/w8-seed0" not in missing
    assert all(not row[name] for row in missing.values() for name in ("accuracy", "nll", "accuracy_low", "seconds"))


def test_report__page_needs_nothing_else(reported):
    page = (reported / "index.html").read_text()
    links = set(re.findall(r'(?:src|href)="([^"#]{1,200})', page))
    assert all(link.startswith("data:") or link.endswith("config.yaml") for link in links)
    assert "http" not in re.sub(r"data:[^\"]*", "", page).replace("http-equiv", "")
    linked = [link for link in links if link.endswith("config.yaml")]
    assert len(linked) == 4
    assert all((reported / link).is_file() for link in linked)


def test_report__pictures_are_in_the_page_and_in_files(reported):
    page = (reported / "index.html").read_text()
    names = ("accuracy", "metrics", "radar", "curves", "confusion", "reliability", "options")
    for name in names:
        for suffix in ("png", "svg"):
            assert (reported / "figures" / f"samples_1_{name}.{suffix}").stat().st_size > 1000
    assert len(re.findall(r"<img src=\"data:image/", page)) == len(names)
    assert all(alt for alt in re.findall(r'<img [^>]*alt="([^"]*)"', page))


def test_report__marks_the_best_and_shows_the_axes(reported):
    page = (reported / "index.html").read_text()
    accuracy = {row["run"]: float(row["accuracy"]) for row in rows(reported / "comparison.csv") if row["accuracy"]}
    best = re.search(rf'data-sort="{max(accuracy.values())}">{max(accuracy.values()):.4f}<span class="star"', page)
    assert best
    assert "The runs differ in 2 options: model.width, seed_everything." in page
    assert "means over runs that differ in their seed alone" in page


def test_report__performance_has_a_row_a_run_and_never_two(study, reported, tmp_path):
    found = rows(reported / "performance.csv")
    assert sorted(row["model_name"] for row in found) == sorted(
        f"exp/w{w}-seed{seed}" for w in (8, 16) for seed in (0, 1)
    )
    assert found[0]["train_time"] == "0:01:02"
    assert found[0]["final_learning_rate"] == "0.001"
    assert found[0]["support"] == "120"
    performance = reported / "performance.csv"
    assert main(["report", str(study), "--out", str(tmp_path / "out"), "--performance", str(performance)]) == 0
    assert rows(performance) == found


def test_report__cells_of_a_stack_that_failed(study, tmp_path, capsys):
    shutil.copytree(study, tmp_path / "runs")
    cells = tmp_path / "runs/exp/cells"
    cells.mkdir()
    for name, content in (("w8-seed0", '{"status": "done"}'), ("cnn", '{"status": "failed"}'), ("odd", "{")):
        (cells / f"{name}.json").write_text(content)
    report(tmp_path / "out", tmp_path / "runs")
    states = {row["run"]: row["state"] for row in rows(tmp_path / "out/comparison.csv")}
    assert states["w8-seed0"] == "tested"
    assert states["exp/cnn"] == "planned; its last state was: failed"
    assert "odd.json is damaged" in states["exp/odd"]


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


def test_report__commands_quote_their_paths(tmp_path):
    started = write_run(tmp_path / "runs/exp/a b")
    (started / "checkpoints").mkdir()
    (started / "checkpoints/best.ckpt").touch()
    write_run(tmp_path / "runs/exp/mlp", logits_for(LABELS, 4), LABELS)
    page = html.unescape(report(tmp_path / "out", tmp_path / "runs"))
    assert f"--ckpt_path '{started / 'checkpoints/best.ckpt'}'" in page


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


def test_report__a_thousand_classes_are_summarised(tmp_path):
    labels = torch.arange(2000) % 1000
    write_run(tmp_path / "runs/exp/mlp", logits_for(labels, 1000, 4), labels)
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "the 100 of 1,000 with the lowest F1" in page
    assert "1,000 classes are too many to name" in page


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


def test_report__members_of_a_stack_have_their_results_there(tmp_path):
    members = [{"name": "mlp", "accuracy": 0.5}]
    write_run(tmp_path / "runs/exp/stack", logits_for(LABELS, 4), LABELS, members=members)
    write_run(tmp_path / "runs/exp/mlp")
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "trained, no test result of its own: see stack stack" in page


def test_report__validation_split(study, tmp_path):
    assert main(["report", str(study), "--out", str(tmp_path / "out"), "--split", "val"]) == 0
    page = (tmp_path / "out/index.html").read_text()
    assert "1 runs were validated" in page
    table = {row["run"]: row["state"] for row in rows(tmp_path / "out/comparison.csv")}
    assert table["untested"] == "validated"
    assert table["w8-seed0"] == "trained, no val result"


def test_report__two_roots_with_the_same_names(tmp_path):
    for root in ("a", "b"):
        write_run(tmp_path / root / "exp/mlp", logits_for(LABELS, 4), LABELS)
    report(tmp_path / "out", tmp_path / "a", tmp_path / "b", tmp_path / "a/exp/mlp")
    found = [row["run"] for row in rows(tmp_path / "out/comparison.csv")]
    assert sorted(found) == [str(tmp_path / "a/exp/mlp"), str(tmp_path / "b/exp/mlp")]


# at the prompt


def test_report__typo_in_a_path(study, capsys):
    assert main(["report", str(study / "exq")]) == 2
    assert f"there is no folder {study / 'exq'}; did you mean exp?" in capsys.readouterr().err


def test_report__a_file_and_a_folder_without_runs(study, tmp_path, capsys):
    assert main(["report", str(study / "exp/w8-seed0/result.json")]) == 2
    assert "name the run's folder" in capsys.readouterr().err
    (tmp_path / "mlp/checkpoints").mkdir(parents=True)
    (tmp_path / "mlp/checkpoints/last.ckpt").touch()
    assert main(["report", str(tmp_path / "mlp/checkpoints/last.ckpt")]) == 2
    assert f"name the run's folder, {tmp_path / 'mlp'}\n" in capsys.readouterr().err
    (tmp_path / "config.yaml").write_text("a: 1\n")
    assert main(["report", str(tmp_path)]) == 2
    assert "no run in" in capsys.readouterr().err


def test_report__unknown_option_and_no_path(capsys):
    assert main(["report", "runs", "--oot", "x"]) == 2
    assert "did you mean --out?" in capsys.readouterr().err
    assert main(["report"]) == 2
    assert "runs" in capsys.readouterr().err


def test_report__replaces_a_report_and_nothing_else(study, tmp_path, capsys):
    out = tmp_path / "out"
    report(out, study)
    (out / "mine.txt").write_text("mine")
    report(out, study / "exp/w8-seed0")
    assert (out / "mine.txt").read_text() == "mine"
    # one run has no heat map
    assert not (out / "figures/samples_1_metrics.png").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "index.html").write_text("mine")
    for path in (other, other / "index.html"):
        assert main(["report", str(study), "--out", str(path)]) == 2
        assert "--out" in capsys.readouterr().err
    assert (other / "index.html").read_text() == "mine"
    assert [path.name for path in other.iterdir()] == ["index.html"]


def test_report__a_file_of_the_user_is_in_the_way(study, tmp_path, capsys):
    out = tmp_path / "out"
    report(out, study / "exp/w8-seed0")
    (out / "figures/samples_1_metrics.png").write_text("mine")
    before = (out / "index.html").read_bytes()
    assert main(["report", str(study), "--out", str(out)]) == 2
    assert "is in the way" in capsys.readouterr().err
    assert (out / "figures/samples_1_metrics.png").read_text() == "mine"
    assert (out / "index.html").read_bytes() == before


def test_report__performance_of_something_else(study, tmp_path, capsys):
    other = tmp_path / "performance.csv"
    other.write_text("a,b\n1,2\n")
    assert main(["report", str(study), "--out", str(tmp_path / "out"), "--performance", str(other)]) == 2
    assert "has other columns" in capsys.readouterr().err
    assert other.read_text() == "a,b\n1,2\n"
    assert not (tmp_path / "out").exists()


def test_planned__a_name_without_quotes_is_told(tmp_path):
    (tmp_path / "plan.yaml").write_text("planned: [1e3, a]\n")
    states = {missing.label: missing.state for missing in planned_runs(tmp_path)}
    assert states[f"{tmp_path.name}/a"] == "planned, not started"
    assert "1000.0 is no name; put it in quotes" in states[f"{tmp_path.name}/plan.yaml"]


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
