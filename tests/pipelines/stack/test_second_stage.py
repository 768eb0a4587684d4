import copy
import csv
import json
import shlex
import shutil

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from scipy.special import softmax

from common.machine import device_name
from ensembling.heads.fitting import GreedyHead, LogisticHead, VoteHead
from ensembling.judging.reject import Reject
from lightning_modules.checkpoints import load_classifier
from measures.classification import classification_metrics
from pipelines.cli.configured_data import build_data
from pipelines.main import main
from pipelines.stack.earlier import is_same
from records.damaged import DamagedFileError
from records.result_files import read_result, write_json
from records.run_dir import RunDir
from tests.helpers.second_stage import make, stacked, train


@pytest.fixture(scope="module")
def oof(tmp_path_factory):
    root = tmp_path_factory.mktemp("oof")
    changes = {
        "mode": "oof",
        "num_folds": 2,
        "heads": [GreedyHead(), LogisticHead(C=1.0)],
        "reject": Reject(coverage=0.5),
    }
    folder = train(make(root, **changes), root / "x")
    return root, folder, changes


def test_oof__each_training_sample_once_and_all_models_compared(oof):
    root, folder, changes = oof
    printed, result = stacked(make(root, **changes), folder)
    rows = load_file(folder / "stack/logits.safetensors")
    assert len(rows["meta/id"]) == len(rows["meta/id"].unique()) == 1438
    assert rows["meta/logits"].shape == (1438, 2, 10)
    assert rows["test/logits"].shape == (359, 2, 10)
    names = [row["name"] for row in result["stack"]["models"]]
    assert names == ["small", "linear", "mean", "tuned_mean", "greedy", "logistic"]
    assert result["leakage"] == {"allowed": [], "warnings": []}
    assert result["stack"]["recommendation"]["sentence"] in printed.replace("\n", " ").replace("  ", " ")


def test_oof__no_fold_is_asked_for_what_it_was_fitted_on(oof):
    root, folder, changes = oof
    stacked(make(root, **changes), folder)
    rows = load_file(folder / "stack/logits.safetensors")
    # the rows come fold by fold: those of the second fold are the second fold's run's
    second = load_file(folder / "small-fold1/predictions.safetensors")
    assert not torch.isin(second["val/id"], rows["meta/id"][719:]).any()
    assert torch.isin(second["val/id"], rows["meta/id"][:719]).all()


def test_oof__a_second_time_no_base_is_run(oof, monkeypatch):
    root, folder, changes = oof
    stacked(make(root, **changes), folder)
    monkeypatch.setattr("lightning_modules.member_logits.load_frozen", lambda *args: pytest.fail("a member was built"))
    monkeypatch.setattr("pipelines.stack.members.load_classifier", lambda *args: pytest.fail("a member was built"))
    printed, _ = stacked(make(root, **changes), folder)
    assert "0 computed" in printed


def test_next_command__works_as_it_is_printed(oof, capsys):
    root, folder, changes = oof
    printed, _ = stacked(make(root, **changes), folder)
    (command,) = [line.removeprefix("next:").strip() for line in printed.splitlines() if line.startswith("next:")]
    words = shlex.split(command)
    assert words[:3] == ["python", "train.py", "predict"]
    assert main(words[2:]) == 0
    assert "predicted.csv" in capsys.readouterr().out


def test_checkpoint__gives_the_same_without_the_runs(oof, tmp_path):
    root, folder, changes = oof
    _, result = stacked(make(root, keep="logistic", **changes), folder)
    path = tmp_path / "elsewhere/stack.ckpt"
    path.parent.mkdir()
    shutil.copy(folder / "stack/checkpoints/stack.ckpt", path)
    shutil.move(folder, tmp_path / "hidden")
    try:
        assert (
            main(["predict", "--ckpt_path", str(path), "--run.root", str(tmp_path), "--trainer.accelerator", "cpu"])
            == 0
        )
        (table,) = tmp_path.glob("digits/*/predicted.csv")
        predicted = list(csv.DictReader(table.open()))
        options = ["--run.root", str(tmp_path), "--run.experiment", "again", "--trainer.accelerator", "cpu"]
        assert main(["test", "--ckpt_path", str(path), *options]) == 0
        (tested,) = (tmp_path / "again").glob("*/result.json")
        again = json.loads(tested.read_text())["test"]
        model = load_classifier(path)
    finally:
        shutil.move(tmp_path / "hidden", folder)
    assert again["accuracy"] == result["test"]["accuracy"]
    assert again["nll"] == pytest.approx(result["test"]["nll"], abs=1e-5)
    share = sum(row["accepted"] == "yes" for row in predicted) / len(predicted)
    rows = load_file(folder / "stack/predictions.safetensors")
    with (folder / "stack/predictions.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert np.mean([row["right"] == "yes" for row in table]) == pytest.approx(result["test"]["accuracy"])
    assert [(row["name"], row["class"], row["accepted"]) for row in table] == [
        (row["name"], row["class"], row["accepted"]) for row in predicted
    ]
    assert share == pytest.approx(float(model.accepted(rows["test/logits"]).float().mean()), abs=0.01)
    assert 0.2 < share < 0.8
    metrics = classification_metrics(rows["test/logits"], rows["test/label"])
    assert metrics["nll"] == pytest.approx(result["test"]["nll"])


def test_oof__heads_and_temperature_are_applied_to_each_fold(oof):
    root, folder, changes = oof
    _, result = stacked(make(root, keep="logistic", stack_name="by_fold", **changes), folder)
    model = load_classifier(folder / "by_fold/checkpoints/stack.ckpt")
    row = next(row for row in result["stack"]["models"] if row["name"] == "logistic")
    config = yaml.safe_load(RunDir(folder / "small-fold0").config.read_text())
    samples = build_data(config["data"]).samples("test")
    images = samples.source.gather(samples.rows)
    weight, bias = model.head.weight.detach().double().numpy(), model.head.bias.detach().double().numpy()
    folds = []
    for fold in range(2):
        runs = [load_classifier(folder / f"{name}-fold{fold}/checkpoints/best.ckpt") for name in ("small", "linear")]
        with torch.no_grad():
            logits = np.stack([run(images).double().numpy() for run in runs], 1)
        z = (logits.reshape(len(logits), -1) @ weight.T + bias) / row["temperature"]
        folds.append(softmax(z, 1))
    expected = np.mean(folds, 0)
    kept = load_file(folder / "by_fold/predictions.safetensors")
    assert torch.equal(kept["test/id"], samples.ids)
    assert np.abs(softmax(kept["test/logits"].double().numpy(), 1) - expected).max() < 1e-5
    with torch.no_grad():
        assert np.abs(softmax(model(images).double().numpy(), 1) - expected).max() < 1e-5
    nll = -np.log(expected[np.arange(len(expected)), samples.labels.numpy()]).mean()
    assert row["metrics"]["nll"]["value"] == pytest.approx(nll, rel=1e-4)
    assert result["test"]["nll"] == pytest.approx(nll, rel=1e-4)


def test_checkpoint__a_single_member_may_be_kept(oof):
    root, folder, changes = oof
    _, result = stacked(make(root, keep="small", stack_name="one", **changes), folder)
    row = next(row for row in result["stack"]["models"] if row["name"] == "small")
    assert result["test"]["accuracy"] == row["metrics"]["accuracy"]["value"]
    assert len(load_classifier(folder / "one/checkpoints/stack.ckpt").members) == 1


def test_checkpoint__of_a_vote(oof):
    root, folder, changes = oof
    plan = make(root, keep="vote", stack_name="voted", **{**changes, "heads": [VoteHead()], "calibrate": False})
    printed, result = stacked(plan, folder)
    assert result["kept"] == "vote"
    assert "vote" in printed
    model, saved = (
        load_classifier(folder / "voted/checkpoints/stack.ckpt"),
        load_file(folder / "voted/predictions.safetensors"),
    )
    data = build_data(yaml.safe_load((folder / "small-fold0/config.yaml").read_text())["data"])
    samples = data.samples("test")
    with torch.no_grad():
        logits = model(samples.source.gather(samples.rows))
    assert saved["test/id"].tolist() == samples.ids.tolist()
    assert torch.allclose(logits.softmax(1), saved["test/logits"].softmax(1), atol=1e-4)
    # of two members and two folds: shares are quarters
    assert torch.allclose((4 * logits.softmax(1)).round() / 4, logits.softmax(1), atol=1e-3)


def test_checkpoint__is_not_trained_on(oof, capsys):
    root, folder, changes = oof
    stacked(make(root, **changes), folder)
    path = folder / "stack/checkpoints/stack.ckpt"
    assert main(["fit", "--ckpt_path", str(path), "--run.root", str(root), "--trainer.accelerator", "cpu"]) == 2
    assert "is not trained on" in capsys.readouterr().err


def test_checkpoint__is_no_base_of_another_stack(oof, capsys):
    root, folder, changes = oof
    stacked(make(root, **changes), folder)
    words = ["--model", "StackingModule", "--model.bases", f"[{folder / 'stack'}/checkpoints/stack.ckpt]"]
    assert main(["fit", *words, "--data.stack_fraction", "0.2", "--run.root", str(root)]) == 2
    assert "holds a whole stack" in capsys.readouterr().err


def test_device__another_one_where_the_members_accelerator_is_not_there(oof, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.accelerators.CUDAAccelerator.is_available", lambda: False)
    monkeypatch.setattr("lightning.pytorch.accelerators.MPSAccelerator.is_available", lambda: False)
    root, folder, changes = oof
    config = folder / "small-fold0/config.yaml"
    trained = config.read_text()
    config.write_text(trained.replace("accelerator: cpu", "accelerator: gpu"))
    # the changed config.yaml counts as the one that the run left
    monkeypatch.setattr("pipelines.stack.finished.check_configs", lambda members: None)
    try:
        printed, result = stacked(make(root, stack_name="elsewhere", **changes), folder)
    finally:
        config.write_text(trained)
    assert "note: members were trained with trainer.accelerator gpu, which this machine does not have" in printed
    assert result["device"] == device_name(torch.device("cpu"))


def test_figures__members_against_the_stack(oof):
    root, folder, changes = oof
    stacked(make(root, **changes), folder)
    drawn = sorted(path.name for path in (folder / "stack/figures").iterdir())
    assert drawn == [
        "head_weights_logistic.png",
        "test_classification_report.txt",
        "test_confused_pairs.png",
        "test_confusion_matrix.png",
        "test_confusion_matrix_normalized.png",
        "test_per_class.png",
        "test_prediction_sets.png",
        "test_stack_by_class.png",
        "test_stack_decisions.png",
    ]


def test_another_stack_in_the_folder__puts_the_earlier_one_aside(oof):
    root, folder, changes = oof
    stacked(make(root, stack_name="twice", keep="logistic", **changes), folder)
    run = RunDir(folder / "twice")
    first = {path: path.read_bytes() for path in (run.result, run.predictions, run.stack)}
    other = make(root, stack_name="twice", keep="small", **{**changes, "heads": [GreedyHead()]})
    for _ in range(2):
        # the second time all is as it was
        _, result = stacked(other, folder)
        kept = sorted(path.name for path in run.folder.glob("**/*.1.*"))
        # the members' logits and the data are the same
        assert kept == ["predictions.1.csv", "predictions.1.safetensors", "result.1.json", "stack.1.ckpt"]
        assert not [*run.folder.glob("**/*.2.*")]
    for path, content in first.items():
        assert path.with_suffix(f".1{path.suffix}").read_bytes() == content
    assert result["kept"] == "small"
    assert len(load_classifier(run.stack).members) == 1
    # nor is a figure of the earlier one left
    assert sorted(path.name for path in run.figures.iterdir()) == [
        "test_classification_report.txt",
        "test_confused_pairs.png",
        "test_confusion_matrix.png",
        "test_confusion_matrix_normalized.png",
        "test_per_class.png",
        "test_prediction_sets.png",
        "test_stack_by_class.png",
        "test_stack_decisions.png",
    ]


def test_same_stack_again__after_its_test(oof):
    root, folder, changes = oof
    plan = make(root, stack_name="tested", keep="logistic", **changes)
    _, first = stacked(plan, folder)
    run = RunDir(folder / "tested")
    command = ["test", "--ckpt_path", str(run.folder), "--figures.draw", "false", "--trainer.accelerator", "cpu"]
    assert main([*command, "--data.batch_size", "7", "--sets.coverage", "0.95"]) == 0
    tested = read_result(run.result)
    assert tested["evaluations"]["test"]["fingerprint"] == first["fingerprints"]["test"]
    # what a test adds where images come from several sources
    write_json(run.result, {**tested, "test_by_source": {"a": {"samples": 359}}, "skipped_files": ["x.png"]})
    tested, written = read_result(run.result), run.stack.stat().st_ino
    _, second = stacked(plan, folder)
    for name in ("test", "test_sets", "test_by_source", "evaluations", "skipped_files"):
        assert second[name] == tested[name]
    assert not [*run.folder.glob("**/*.1.*")]
    # the checkpoint is not even written again
    assert run.stack.stat().st_ino == written
    # of other samples, its numbers are put aside, and no copy of what has not changed
    tested["evaluations"]["test"]["fingerprint"] = "others"
    write_json(run.result, tested)
    stacked(plan, folder)
    assert "evaluations" not in read_result(run.result)
    kept = sorted(path.name for path in run.folder.glob("**/*.1.*"))
    assert kept == ["predictions.1.csv", "predictions.1.safetensors", "result.1.json"]
    assert read_result(run.folder / "result.1.json")["evaluations"] == tested["evaluations"]


def test_is_same__by_content():
    one = {"state": {"a": torch.ones(2)}, "options": [1, (2.0, "x")]}
    assert is_same(one, copy.deepcopy(one))
    for other in (
        {**one, "state": {"a": torch.zeros(2)}},
        {**one, "state": {"a": torch.ones(2).double()}},
        {**one, "state": {"a": [1, 1]}},
        {**one, "options": [1]},
        {"state": one["state"]},
    ):
        assert not is_same(one, other)


@pytest.mark.parametrize("broken", ["write_predictions", "write_tensors", "write_json", "WholeFileIO"])
def test_write__that_stops_mixes_no_two_stacks(oof, monkeypatch, broken):
    root, folder, changes = oof
    name = f"stopped_{broken}"
    stacked(make(root, stack_name=name, keep="logistic", **changes), folder)
    run = RunDir(folder / name)
    earlier = {path: path.read_bytes() for path in (run.result, run.predictions, run.stack)}

    def stop(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(f"pipelines.stack.result.{broken}", stop)
        with pytest.raises(KeyboardInterrupt):
            stacked(make(root, stack_name=name, keep="small", **changes), folder)
    assert not [path for path, content in earlier.items() if path.is_file() and path.read_bytes() == content]
    assert not run.stack.is_file()


def test_write__a_damaged_result_is_named_and_put_aside(oof):
    root, folder, changes = oof
    plan = make(root, stack_name="damaged", **changes)
    stacked(plan, folder)
    path = folder / "damaged/result.json"
    path.write_text('{"a":')
    (folder / "damaged/logits.safetensors").write_bytes(b"cut")
    with pytest.warns(UserWarning, match=r"damaged/result\.json is damaged .*put aside as .*result\.1\.json"):
        stacked(plan, folder)
    assert (folder / "damaged/result.1.json").read_text() == '{"a":'
    assert (folder / "damaged/logits.1.safetensors").read_bytes() == b"cut"
    assert "test" in read_result(path)


def test_meta_stage__a_members_config_that_has_changed_is_named(oof):
    root, folder, changes = oof
    config = folder / "linear-fold1/config.yaml"
    trained = config.read_text()
    for text in (trained.replace("batch_size: 256", "batch_size: 257"), trained[:-20]):
        config.write_text(text)
        assert text != trained
        with pytest.raises(DamagedFileError, match=r"linear-fold1/config\.yaml is damaged .*copy it again, or remove"):
            stacked(make(root, stack_name="changed", **changes), folder)
    config.write_text(trained)
    assert not (folder / "changed").exists()


def test_speed__a_damaged_file_is_measured_anew(oof):
    root, folder, changes = oof
    stacked(make(root, stack_name="fast", **changes), folder)
    speed = folder / "small-fold0/speed.json"
    speed.write_text(speed.read_text().replace(": 0.", ": 9."))
    with pytest.warns(UserWarning, match=r"small-fold0/speed\.json is damaged .*put aside"):
        stacked(make(root, stack_name="fast", **changes), folder)


def test_folds_false__the_heads_see_the_first_fold_alone(oof):
    root, folder, changes = oof
    plan = make(root, stack_name="first", **changes)
    plan.members[1].folds = False
    stacked(plan, folder)
    assert len(load_file(folder / "first/logits.safetensors")["meta/id"]) == 720


def test_budget__leaves_members_out_and_says_so(oof):
    root, folder, changes = oof
    # measures the members
    stacked(make(root, **changes), folder)
    for name, cost in (("small", 5.0), ("linear", 1.0)):
        for fold in (0, 1):
            known = json.loads((folder / f"{name}-fold{fold}/speed.json").read_text())
            text = json.dumps(dict.fromkeys(known.keys() - {"digest"}, cost))
            (folder / f"{name}-fold{fold}/speed.json").write_text(text)
    _, result = stacked(make(root, max_ms_per_image=3.0, stack_name="cheap", **changes), folder)
    assert "left out for max_ms_per_image 3: small" in result["stack"]["notes"]
    assert [row["name"] for row in result["stack"]["models"] if row["kind"] == "member"] == ["linear"]
    with pytest.raises(ValueError, match="keep: 'small' is left out by max_ms_per_image 3"):
        stacked(make(root, max_ms_per_image=3.0, keep="small", stack_name="none", **changes), folder)
    with pytest.raises(ValueError, match="no member fits max_ms_per_image 0.5"):
        stacked(make(root, max_ms_per_image=0.5, stack_name="none", **changes), folder)
