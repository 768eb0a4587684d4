import csv
import io
import json
import shutil

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from common.machine import device_name
from ensembling.heads.fitting import GreedyHead, LogisticHead
from ensembling.heads.networks import WeightedMean
from ensembling.heads.pooling import TunedMeanHead
from ensembling.heads.weights import set_weights
from ensembling.judging.reject import Reject
from ensembling.leakage import LeakageError
from lightning_modules.checkpoints import load_classifier
from measures.classification import classification_metrics
from pipelines.main import main
from pipelines.stack import members as stack_logits
from pipelines.stack.members import MemberLogits, build_data, overlaps_with_test
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.result import FittedHead, Stack
from pipelines.stack.second_stage import fit_heads, second_stage
from records.damaged import DamagedFileError
from records.result_files import read_result
from records.run_dir import RunDir

QUICK = {
    "data.batch_size": 256,
    "trainer.max_epochs": 3,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}


def make(root, **changes):
    options = {**QUICK, **changes.pop("options", {})}
    members = [
        Member("small", ["configs/model/mlp.yaml"], {"model.hidden": [16]}, seed=1),
        Member("linear", ["configs/model/linear.yaml"], seed=2),
    ]
    defaults = {
        "members": members,
        "heads": [LogisticHead(C=1.0)],
        "root": str(root),
        "experiment": "x",
        "options": options,
        "seed": 3,
    }
    return StackPlan(**{**defaults, "logit_cache": str(root / "cache"), **changes})


def train(plan, folder):
    """Run a plan's cells one after the other, in this process."""
    for cell in plan.cells:
        assert main(cell.command(folder)) == 0
    return folder


def stacked(plan, folder):
    """Run the second stage; return what it printed and its result."""
    text = io.StringIO()
    assert second_stage(plan, folder, Console(file=text)) == 0
    return text.getvalue(), json.loads((folder / plan.stack_name / "result.json").read_text())


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


@pytest.fixture(scope="module")
def holdout(tmp_path_factory):
    root = tmp_path_factory.mktemp("holdout")
    options = {"data.stack_fraction": 0.3, "data.val_fraction": 0.2}
    return root, train(make(root, options=options), root / "x"), options


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
    monkeypatch.setattr("lightning_modules.member_logits.load_frozen", lambda *args: pytest.fail("a base was built"))
    monkeypatch.setattr("pipelines.stack.members.load_classifier", lambda *args: pytest.fail("a base was built"))
    printed, _ = stacked(make(root, **changes), folder)
    assert "0 computed" in printed


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
        (table,) = tmp_path.glob("*/*/predicted.csv")
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
    assert share == pytest.approx(float(model.accepted(rows["test/logits"]).float().mean()), abs=0.01)
    assert 0.2 < share < 0.8
    metrics = classification_metrics(rows["test/logits"], rows["test/label"])
    assert metrics["nll"] == pytest.approx(result["test"]["nll"])


def test_checkpoint__a_single_member_may_be_kept(oof):
    root, folder, changes = oof
    _, result = stacked(make(root, keep="small", stack_name="one", **changes), folder)
    row = next(row for row in result["stack"]["models"] if row["name"] == "small")
    assert result["test"]["accuracy"] == row["metrics"]["accuracy"]["value"]
    assert len(load_classifier(folder / "one/checkpoints/stack.ckpt").members) == 1


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
    monkeypatch.setattr("pipelines.stack.second_stage.check_configs", lambda members: None)
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
    assert drawn == ["head_weights_logistic.png", "test_stack_by_class.png", "test_stack_decisions.png"]


def test_another_stack_in_the_folder__puts_the_earlier_one_aside(oof):
    root, folder, changes = oof
    stacked(make(root, stack_name="twice", keep="logistic", **changes), folder)
    run = RunDir(folder / "twice")
    first = {path: path.read_bytes() for path in (run.result, run.predictions, run.logits, run.stack)}
    other = make(root, stack_name="twice", keep="small", **{**changes, "heads": [GreedyHead()]})
    for _ in range(2):
        # the second time all is as it was
        _, result = stacked(other, folder)
        kept = sorted(path.name for path in run.folder.glob("**/*.1.*"))
        names = ("data.1.safetensors", "logits.1.safetensors", "predictions.1.safetensors", "result.1.json")
        assert kept == [*names, "stack.1.ckpt"]
        assert not [*run.folder.glob("**/*.2.*")]
    for path, content in first.items():
        assert path.with_suffix(f".1{path.suffix}").read_bytes() == content
    assert result["kept"] == "small"
    assert len(load_classifier(run.stack).members) == 1
    # nor is a figure of the earlier one left
    assert sorted(path.name for path in run.figures.iterdir()) == [
        "test_stack_by_class.png",
        "test_stack_decisions.png",
    ]


def test_same_stack_again__after_its_test(oof):
    root, folder, changes = oof
    plan = make(root, stack_name="tested", keep="logistic", **changes)
    _, first = stacked(plan, folder)
    run = RunDir(folder / "tested")
    command = ["test", "--ckpt_path", str(run.folder), "--figures.draw", "false", "--trainer.accelerator", "cpu"]
    assert main([*command, "--data.batch_size", "7"]) == 0
    assert read_result(run.result)["evaluations"]["test"]["fingerprint"] == first["fingerprints"]["test"]
    _, second = stacked(plan, folder)
    assert "evaluations" not in read_result(run.result)
    assert second["test"] == first["test"]
    assert not [*run.folder.glob("**/*.1.*")]


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
    assert len(load_file(folder / "first/logits.safetensors")["meta/id"]) == 719


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
        assert next(csv.reader(file)) == ["name", "class", "probability"]


def test_members_without_weight__are_neither_priced_nor_kept(holdout, monkeypatch):
    root, folder, options = holdout

    def on_one_member(plan, meta, test, console):
        module = WeightedMean(2)
        set_weights(module, torch.tensor([0.0, 1.0]))
        with torch.no_grad():
            head = FittedHead(TunedMeanHead(), module, module(meta.logits), module(test.logits))
        return fit_heads(plan, meta, test, console) | {"tuned_mean": head}

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
    assert "LEAKAGE ALLOWED" in printed


def test_fit_heads__held_out_samples_have_no_copy_in_the_fit(tmp_path):
    generator = torch.Generator().manual_seed(0)
    # members that know nothing, and each image three times
    keys, labels = torch.arange(100).repeat(3), torch.randint(0, 5, (100,), generator=generator).repeat(3)
    logits = torch.randn(100, 4, 5, generator=generator).repeat(3, 1, 1)
    meta = MemberLogits(torch.arange(300), keys, labels, None, logits)
    plan = make(tmp_path, heads=[LogisticHead(C=1e3)])
    heads = fit_heads(plan, meta, meta, Console(file=io.StringIO()))
    right = heads["logistic"].held_out.argmax(1) == labels
    assert float(right.double().mean()) < 0.35
    # nor do intervals take copies for samples of their own
    stack = Stack(plan, None, {}, None, [], meta, meta, heads, None, {}, [])
    assert torch.equal(stack.held_out.groups, keys)
