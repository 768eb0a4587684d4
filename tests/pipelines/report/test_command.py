import html
import re
import shutil
from html.parser import HTMLParser

import pytest
import torch
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from pipelines.main import main
from pipelines.report.runs import planned_runs
from tests.helpers.reports import LABELS, report, rows
from tests.helpers.runs import logits_for, write_run

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def reported(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "report"
    assert main(["report", str(study), "--out", str(out)]) == 0
    return out


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
    names = ("accuracy", "metrics", "several", "radar", "curves", "confusion", "reliability", "options")
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


class Balanced(HTMLParser):
    """Checks that every element is closed in its place."""

    def __init__(self):
        super().__init__()
        self.open, self.ids = [], []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in {"meta", "link", "input", "img", "wbr", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_report__page_is_well_formed_and_says_first_what_won(reported):
    page = (reported / "index.html").read_text()
    checked = Balanced()
    checked.feed(page)
    assert checked.open == []
    assert len(checked.ids) == len(set(checked.ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(checked.ids)
    best = max(rows(reported / "comparison.csv"), key=lambda row: float(row["accuracy"] or 0))
    before_contents = page.partition("<nav")[0]
    assert "4 runs on Digits, 120 samples (exp), best by accuracy" in before_contents
    winner = html.unescape(re.search(r'class="winner"><strong>(.*?)</strong>', before_contents)[1].replace("<wbr>", ""))
    assert winner == best["run"]
    assert f"accuracy {float(best['accuracy']):.4f} (" in before_contents
    assert '<details id="samples_1-2" open>' in page


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


def test_report__commands_quote_their_paths(tmp_path):
    started = write_run(tmp_path / "runs/exp/a b")
    (started / "checkpoints").mkdir()
    (started / "checkpoints/best.ckpt").touch()
    write_run(tmp_path / "runs/exp/mlp", logits_for(LABELS, 4), LABELS)
    page = html.unescape(report(tmp_path / "out", tmp_path / "runs"))
    assert f"--ckpt_path '{started / 'checkpoints/best.ckpt'}'" in page


def test_report__a_thousand_classes_are_summarised(tmp_path):
    labels = torch.arange(2000) % 1000
    write_run(tmp_path / "runs/exp/mlp", logits_for(labels, 1000, 4), labels)
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "the 100 of 1,000 with the lowest F1" in page
    assert "1,000 classes are too many to name" in page


def test_report__members_of_a_stack_have_their_results_there(tmp_path):
    members = [{"name": "mlp", "accuracy": 0.5}]
    write_run(tmp_path / "runs/exp/stack", logits_for(LABELS, 4), LABELS, members=members)
    write_run(tmp_path / "runs/exp/mlp")
    page = report(tmp_path / "out", tmp_path / "runs")
    assert "Cells of stacks have no test result of their own (1)" in page
    assert "what is missing" not in page
    assert [row["run"] for row in rows(tmp_path / "out/comparison.csv")] == ["stack"]


def test_report__validation_split(study, tmp_path):
    assert main(["report", str(study), "--out", str(tmp_path / "out"), "--split", "val"]) == 0
    page = (tmp_path / "out/index.html").read_text()
    assert "1 run validated" in page
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
