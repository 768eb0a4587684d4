"""The second stage on a split that no member was fitted on: holdout and validation."""

import csv
import io
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from ensembling.heads.fitting import LogisticHead
from ensembling.heads.networks import Logistic, WeightedMean
from ensembling.heads.pooling import TunedMeanHead
from ensembling.heads.weights import set_weights
from ensembling.judging.reject import Reject
from ensembling.leakage import LeakageError
from lightning_modules.checkpoints import load_classifier
from measures.problem import Problem
from measures.set_coverage import spoken
from measures.set_options import SetOptions
from pipelines.cli.configured_data import build_data
from pipelines.main import main
from pipelines.stack import members as stack_logits
from pipelines.stack.fitted import FittedHead
from pipelines.stack.members import MemberLogits, overlaps_with_test
from pipelines.stack.result import Stack
from pipelines.stack.second_stage import fit_heads
from records.result_files import read_result
from records.run_dir import RunDir
from tests.helpers.meta import meta_samples
from tests.helpers.second_stage import make, stacked, train


@pytest.fixture(scope="module")
def holdout(tmp_path_factory):
    root = tmp_path_factory.mktemp("holdout")
    options = {"data.stack_fraction": 0.3, "data.val_fraction": 0.2}
    return root, train(make(root, options=options), root / "x"), options


def test_holdout__the_heads_see_the_stack_split(holdout):
    root, folder, options = holdout
    _, result = stacked(make(root, options=options), folder)
    fit = json.loads((folder / "small/result.json").read_text())
    assert result["samples"]["meta"] == fit["samples"]["stack"]
    # told though no greedy head is asked for
    assert sum(row["greedy_share"] for row in result["stack"]["worth"]) == pytest.approx(1)
    assert result["leakage"] == {"allowed": [], "warnings": []}


def test_reject__what_cannot_be_had_is_said(holdout, capsys):
    root, folder, options = holdout
    wanted = Reject(accuracy=1.0, per_class=True)
    printed, result = stacked(make(root, options=options, reject=wanted, keep="small", stack_name="strict"), folder)
    notes = next(row["rejection"]["notes"] for row in result["stack"]["models"] if row["name"] == "small")
    assert notes
    assert all(f"small: {note}" in result["stack"]["notes"] for note in notes)
    assert notes[0][:20] in printed
    path = folder / "strict/checkpoints/stack.ckpt"
    assert main(["predict", "--ckpt_path", str(path), "--trainer.accelerator", "cpu"]) == 0
    assert f"note: {notes[0]}" in capsys.readouterr().out


def test_reject__nothing_wanted_is_nothing_said_of_it(holdout, tmp_path):
    root, folder, options = holdout
    printed, result = stacked(make(root, options=options, stack_name="accepts"), folder)
    assert "right of these" not in printed
    assert all(row["rejection"] is None for row in result["stack"]["models"])
    path = folder / "accepts/checkpoints/stack.ckpt"
    assert load_classifier(path).accepted(torch.zeros(2, 10)) is None
    assert main(["predict", "--ckpt_path", str(path), "--trainer.accelerator", "cpu"]) == 0
    with (folder / "accepts/predicted.csv").open() as file:
        assert "accepted" not in next(csv.reader(file))


def test_sets__are_calibrated_on_what_the_heads_did_not_see(holdout, capsys):
    """The plan's coverage is that of predict, too."""
    root, folder, options = holdout
    plan = make(root, options=options, stack_name="sets", sets=SetOptions(0.95, "lac"))
    printed, result = stacked(plan, folder)
    tested = result["test_sets"]
    assert (tested["coverage"], tested["method"]) == (0.95, "lac")
    assert tested["calibrated_on"]["samples"] == result["samples"]["meta"]
    assert spoken(tested)[:60] in printed
    assert abs(tested["covered"]["value"] - 0.95) < 0.06
    path = folder / "sets/checkpoints/stack.ckpt"
    assert main(["predict", "--ckpt_path", str(path), "--trainer.accelerator", "cpu"]) == 0
    assert "95 % sets (lac), calibrated on" in capsys.readouterr().out
    with (folder / "sets/predicted.csv").open() as file:
        rows = list(csv.DictReader(file))
    sizes = [len(row["set"].split(" | ")) for row in rows]
    assert sum(sizes) / len(sizes) == pytest.approx(tested["size"]["mean"])
    assert all(row["set"].split(" | ")[0] == row["class"] for row in rows)


def test_members_without_weight__are_neither_priced_nor_kept(holdout, monkeypatch):
    root, folder, options = holdout

    def on_one_member(plan, meta, test, console, notes):
        module = WeightedMean(2)
        set_weights(module, torch.tensor([0.0, 1.0]))
        with torch.no_grad():
            head = FittedHead(TunedMeanHead(), module, module(meta.logits), module(test.logits)[:, None])
        return fit_heads(plan, meta, test, console, notes) | {"tuned_mean": head}

    monkeypatch.setattr("pipelines.stack.second_stage.fit_heads", on_one_member)
    _, result = stacked(make(root, options=options, keep="tuned_mean", stack_name="light"), folder)
    rows = {row["name"]: row for row in result["stack"]["models"]}
    assert rows["tuned_mean"]["ms_per_image"] == rows["linear"]["ms_per_image"] < rows["mean"]["ms_per_image"]
    # its only weight
    assert result["parameters"] == rows["tuned_mean"]["parameters"] == rows["linear"]["parameters"] + 1
    model = load_classifier(folder / "light/checkpoints/stack.ckpt")
    assert [member["name"] for member in model.members] == ["linear"]
    config = yaml.safe_load(RunDir(folder / "linear").config.read_text())
    samples = build_data(config["data"]).samples("test").subset(range(20))
    with torch.no_grad():
        logits = model(samples.source.gather(samples.rows))
    kept = load_file(folder / "light/predictions.safetensors")
    assert torch.equal(kept["test/id"][:20], samples.ids)
    torch.testing.assert_close(logits, kept["test/logits"][:20], atol=1e-4, rtol=1e-4)


def test_overlaps__are_counted(holdout):
    _, folder, _ = holdout
    runs = [stack_logits.MemberRun.of(RunDir(folder / "small"))]
    member = stack_logits.TrainedMember("small", runs, runs)
    data = build_data(yaml.safe_load(runs[0].files.config.read_text())["data"])
    none = [data.samples("stack").subset([])]
    assert overlaps_with_test([member], [data.samples("stack")], data.samples("test")) == []
    for split, what in (("train", "small was fitted"), ("val", "small was selected")):
        (sentence,) = overlaps_with_test([member], none, data.samples(split).subset([0, 1, 2]))
        assert sentence.startswith(f"{what} on copies of 3 of the test samples")
    stack = data.samples("stack")
    (sentence,) = overlaps_with_test([member], [stack.subset([0, 1]), stack.subset([2])], stack.subset([1, 2, 3]))
    assert sentence.startswith("the heads were fitted on copies of 2 of the test samples")


def test_check_data__other_classes_and_pixels_are_refused(holdout):
    _, folder, _ = holdout
    runs = [stack_logits.MemberRun.of(RunDir(folder / "small"))]
    member = stack_logits.TrainedMember("small", runs, runs)
    section = yaml.safe_load(runs[0].files.config.read_text())["data"]
    data = build_data(section)
    member.check_data(data)
    # the same classes in another order
    data.dataset.class_names.reverse()
    with pytest.raises(ValueError, match="member 'small' was trained on the classes"):
        member.check_data(data)
    section["init_args"]["image_size"] = 8
    with pytest.raises(ValueError, match=r"height and width \[1, 16, 16\], but the stack's data has \[1, 8, 8\]"):
        member.check_data(build_data(section))


def test_val__selection_is_told_in_every_table(holdout):
    root, folder, options = holdout
    printed, result = stacked(make(root, options=options, mode="val", stack_name="on_val"), folder)
    assert "small was selected on" in result["leakage"]["warnings"][0]
    assert "small was selected on" in printed


def test_train__is_refused_without_the_override_and_told_with_it(holdout):
    root, folder, options = holdout
    plan = make(root, options=options, mode="train", stack_name="leaked", allow_leakage=True)
    plan.allow_leakage = False
    with pytest.raises(LeakageError, match="small was fitted on .* set the option allow_leakage true") as raised:
        stacked(plan, folder)
    # this command has no options of a model
    assert "--" not in str(raised.value)
    assert not (folder / "leaked").exists()
    plan.allow_leakage = True
    printed, result = stacked(plan, folder)
    assert "small was fitted on" in result["leakage"]["allowed"][0]
    assert result["test_sets"].keys() == {"missing"}
    assert "LEAKAGE ALLOWED" in printed


def test_fit_heads__held_out_samples_have_no_copy_in_the_fit(tmp_path):
    generator = torch.Generator().manual_seed(0)
    # members that know nothing, and each image three times
    keys, labels = torch.arange(100).repeat(3), torch.randint(0, 5, (100,), generator=generator).repeat(3)
    logits = torch.randn(100, 4, 5, generator=generator).repeat(3, 1, 1)
    meta = MemberLogits(torch.arange(300), keys, labels, None, logits)
    plan = make(tmp_path, heads=[LogisticHead(C=1e3)])
    heads = fit_heads(plan, meta, meta, Console(file=io.StringIO()), [])
    right = heads["logistic"].held_out.argmax(1) == labels
    assert float(right.double().mean()) < 0.35
    # nor do intervals take copies for samples of their own
    stack = Stack(plan, None, {}, None, [], meta, meta, heads, None, {}, [])
    assert torch.equal(stack.held_out.groups, keys)


def test_by_source__of_the_kept_model(tmp_path):
    logits, labels = meta_samples(bases=2)
    sources = torch.arange(300) % 2
    meta = MemberLogits(torch.arange(300), torch.arange(300), labels, None, logits, sources=sources)
    plan = make(tmp_path, keep="logistic")
    heads = fit_heads(plan, meta, meta, Console(file=io.StringIO()), [])
    names = [str(number) for number in range(logits.shape[2])]
    data = SimpleNamespace(
        dataset=SimpleNamespace(class_names=names, source_names=("left", "right")),
        info=SimpleNamespace(problem=Problem(ordinal=True)),
    )
    members = [SimpleNamespace(name=name, tested=[]) for name in ("small", "linear")]
    stack = Stack(plan, None, {}, data, members, meta, meta, heads, None, {}, [])
    found = stack.by_source
    assert found["test_by_source"]["left"]["quadratic_kappa"] < 1
    assert found["source_names"] == ["left", "right"]
    right = (stack.delivered(stack.tested).argmax(1) == labels)[sources == 1]
    assert found["test_by_source"]["right"]["accuracy"] == pytest.approx(float(right.double().mean()))
    assert set(found["test_source_pairs_f1"]["0"]["left"]) == {"left", "right"}
    assert replace(stack, test=replace(meta, sources=None)).by_source == {}


def test_threshold__of_the_kept_model_is_chosen_on_held_out_samples(tmp_path):
    logits, labels = meta_samples(bases=2)
    logits, labels = logits[:, :, :2], labels % 2
    meta = MemberLogits(torch.arange(300), torch.arange(300), labels, None, logits)
    plan = make(tmp_path, keep="logistic", calibrate=False)
    heads = fit_heads(plan, meta, meta, Console(file=io.StringIO()), [])
    info = SimpleNamespace(problem=Problem(positive=1, specificity=0.8), positive=1, class_names=["ok", "defect"])
    data = SimpleNamespace(dataset=SimpleNamespace(class_names=info.class_names, source_names=()), info=info)
    members = [SimpleNamespace(name=name, tested=[]) for name in ("small", "linear")]
    no_leak = SimpleNamespace(problems=list)
    stack = Stack(plan, None, {}, data, members, meta, meta, heads, no_leak, {}, [])
    point = stack.threshold
    negatives = labels == 0
    assert point["chosen_on"] == {"split": "held-out", "samples": int(negatives.sum())}
    held_out = stack.held_out.models()["logistic"].double().softmax(1)[:, 1]
    assert float((held_out[negatives] <= point["threshold"]).double().mean()) == pytest.approx(0.8, abs=0.01)
    tested = stack.delivered(stack.tested).double().softmax(1)[:, 1]
    assert point["sensitivity"]["value"] == float((tested[~negatives] > point["threshold"]).double().mean())
    info.positive = None
    assert replace(stack).threshold is None


def ledger(root):
    (path,) = (root / ".ledger").glob("*.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_second_stage__the_ledger_knows_a_model_again(holdout, tmp_path):
    _, folder, options = holdout
    shutil.copytree(folder, tmp_path / "x")
    plan = make(tmp_path, options=options)
    printed, result = stacked(plan, tmp_path / "x")
    assert result["look"] == {"number": 1, "models": 5, "repeated": 0, "unreadable": 0}
    assert "Look 1 at this test split (5 models so far)." in printed
    (line,) = ledger(tmp_path)
    assert (line["command"], line["run"], line["samples"]) == ("stack", "x/stack", 359)
    assert list(line["models"]) == ["small", "linear", "mean", "tuned_mean", "logistic"]
    # the same stack again, its checkpoint, and a member: nothing is new
    _, again = stacked(plan, tmp_path / "x")
    assert again["look"] == {**result["look"], "repeated": 1}
    for run in ("stack/checkpoints/stack.ckpt", "small/checkpoints/best.ckpt"):
        command = ["test", "--ckpt_path", str(tmp_path / "x" / run), "--trainer.accelerator", "cpu"]
        assert main(command) == 0
    tested = read_result(tmp_path / "x/small/result.json")["evaluations"]["test"]
    assert tested["look"] == {"number": 1, "models": 5, "repeated": 3, "unreadable": 0}
    assert [line["command"] for line in ledger(tmp_path)] == ["stack", "stack", "test", "test"]
    # the same models stay in the same files; another head is a new look
    assert sorted(path.name for path in (tmp_path / "x/stack").glob("result*.json")) == ["result.json"]
    printed, other = stacked(make(tmp_path, options=options, heads=[LogisticHead(C=0.01)]), tmp_path / "x")
    assert (other["look"]["number"], other["look"]["models"]) == (2, 6)
    assert "the most accurate of these 5 models would be expected to lose" in " ".join(printed.split())


def test_negative_control__is_told_and_never_kept(holdout, tmp_path):
    root, folder, options = holdout
    plan = make(root, options=options, negative_control=True, stack_name="controlled")
    printed, result = stacked(plan, folder)
    control = result["stack"]["negative_control"]
    assert [row["name"] for row in control["rows"]] == ["permuted labels", "noise", "logistic with noise"]
    assert control["sentence"] in " ".join(printed.split())
    assert "negative control" in printed
    assert result["kept"] in [row["name"] for row in result["stack"]["models"]]
    # the rest of the stack is as without it
    _, plain = stacked(make(root, options=options), folder)
    assert result["stack"]["models"] == plain["stack"]["models"]
    assert result["kept"] == plain["kept"]
    assert "negative_control" not in plain["stack"]
    assert main(["report", str(folder / "controlled"), "--out", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report/index.html").read_text()
    assert "negative control: none of it may be above chance" in page
    assert f"N{control['sentence'][1:]}" in page


def test_negative_control__that_fails_is_a_note(holdout, monkeypatch):
    root, folder, options = holdout

    def fails(*args):
        raise ValueError("logistic regression did not converge")

    monkeypatch.setattr("pipelines.stack.second_stage.negative_control", fails)
    _, result = stacked(make(root, options=options, negative_control=True, stack_name="uncontrolled"), folder)
    assert "negative_control" not in result["stack"]
    note = "the negative control is left out, because a fit failed: logistic regression did not converge"
    assert note in result["stack"]["notes"]


def test_a_head_that_fails__is_a_note_and_the_others_stand(holdout):
    root, folder, options = holdout
    heads = [LogisticHead(C=1.0, max_iterations=1), LogisticHead(C=1.0)]
    plan = make(root, options=options, heads=heads, keep="logistic", stack_name="failing")
    printed, result = stacked(plan, folder)
    report = result["stack"]
    assert [row["name"] for row in report["models"]] == ["small", "linear", "mean", "tuned_mean", "logistic 2"]
    assert report["failed_heads"] == ["logistic"]
    (failed, kept) = (note for note in report["notes"] if "fail" in note)
    assert "head logistic is left out, because its fit failed: logistic regression did not converge in 1" in failed
    assert "the recommended model is kept" in kept
    assert "logistic\nfailed" in printed or "failed" in printed.split("calibration")[0]
    assert result["kept"] == report["recommendation"]["model"]
    assert load_classifier(folder / "failing/checkpoints/stack.ckpt")


def test_fit_heads__logits_that_are_not_finite_fail_a_head(tmp_path, monkeypatch):
    logits, labels = meta_samples(bases=2)
    meta = MemberLogits(torch.arange(300), torch.arange(300), labels, None, logits)
    notes = []
    monkeypatch.setattr(Logistic, "forward", lambda self, logits: logits[:, 0] * torch.nan)
    heads = fit_heads(make(tmp_path), meta, meta, Console(file=io.StringIO()), notes)
    assert list(heads) == ["mean", "tuned_mean"]
    assert notes == ["head logistic is left out, because its fit failed: it gives logits that are not finite"]


def test_fit_heads__a_penalty_that_does_not_converge_is_a_note(tmp_path, monkeypatch):
    logits, labels = meta_samples(bases=2)
    meta = MemberLogits(torch.arange(300), torch.arange(300), labels, None, logits)
    notes = []

    def cv(x, labels, classes, grid, folds, iterations, told):
        told.append("C = 10 left out")
        return torch.zeros(classes, x.shape[1]), torch.zeros(classes), 1.0, None

    monkeypatch.setattr("ensembling.solver.cv.fit_logistic_cv", cv)
    fit_heads(make(tmp_path, heads=[LogisticHead()]), meta, meta, Console(file=io.StringIO()), notes)
    # six fits say it once
    assert notes == ["head logistic: C = 10 left out"]
