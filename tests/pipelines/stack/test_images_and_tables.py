"""A stack of a model on images and a model on the columns beside them."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

import francesinha
from datamodules import Manifest, TableData
from ensembling.leakage import LeakageError
from lightning_modules.checkpoints import load_classifier, read_base
from pipelines.cli.configured_data import build_data
from pipelines.main import main
from pipelines.stack.members import MemberRun, TrainedMember, check_leakage, meta_samples
from pipelines.stack.plan import Member
from records.run_dir import RunDir
from tests.helpers.second_stage import make, stacked, train


def write_patients(root, count=160):
    """Images whose brightness tells a half of the class, and a table whose columns tell the other half."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    bright, age = rng.normal(size=count), rng.normal(size=count)
    sick = bright + age > 0
    rows = []
    for number in range(count):
        pixels = rng.integers(0, 60, (8, 8), dtype=np.uint8) + np.uint8(np.clip(90 + 40 * bright[number], 0, 190))
        Image.fromarray(pixels).save(root / f"images/{number:03}.png")
        row = {"path": f"images/{number:03}.png", "label": "sick" if sick[number] else "well"}
        rows.append(row | {"age": 50 + 10 * age[number], "ward": "AB"[number % 2], "note": f"n{number}"})
    with (root / "patients.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return str(root / "patients.csv")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A trained out-of-fold stack: its folder, its plan, and what it printed and found."""
    root = tmp_path_factory.mktemp("mixed")
    options = {
        "data": "Manifest",
        "data.path": write_patients(root),
        "data.features": ["age", "ward"],
        "data.batch_size": 32,
        "trainer.max_epochs": 8,
    }
    adam = {"model.optimizer": "torch.optim.Adam", "model.optimizer.lr": 0.1}
    members = [
        Member("photo", ["configs/model/linear.yaml"], {"model.optimizer.lr": 0.02}, seed=1),
        Member("chart", [], {"model": "TableClassifier", **adam}, seed=2),
    ]
    plan = make(root, members=members, options=options, mode="oof", num_folds=2, tta="flip")
    folder = train(plan, root / "x")
    return folder, plan, *stacked(plan, folder)


def test_stack__of_both_is_better_than_each(mixed):
    _, _, printed, result = mixed
    scores = {row["name"]: row["metrics"]["auroc"]["value"] for row in result["stack"]["models"]}
    head = max(score for name, score in scores.items() if name not in ("photo", "chart"))
    assert scores["photo"] < head
    assert scores["chart"] < head
    assert head > 0.9
    assert result["leakage"]["allowed"] == []
    assert "chart" in printed


def test_members__know_the_same_samples(mixed):
    folder, plan, *_ = mixed
    for fold in range(2):
        photo, chart = (
            load_classifier(folder / f"{name}-fold{fold}/checkpoints/best.ckpt") for name in ("photo", "chart")
        )
        for column in ("fitted", "selected", "fitted_pixels", "fitted_looks"):
            assert torch.equal(getattr(photo.provenance, column), getattr(chart.provenance, column))
        assert photo.info.table is None
        assert chart.info.table.names == ["age", "ward"]
    results = [json.loads((folder / f"{name}-fold0/result.json").read_text()) for name in ("photo", "chart")]
    assert results[0]["fingerprints"] == results[1]["fingerprints"]
    assert plan.num_folds == 2


def test_leak_guard__refuses_a_table_model_that_was_fitted_on_the_heads_samples(mixed):
    folder, plan, *_ = mixed
    data = build_data(json.loads(json.dumps(torch.load(weights(folder, "chart-fold0"))["config"]["data"])))
    runs = {
        name: [MemberRun.of(RunDir(folder / f"{name}-fold{fold}")) for fold in (0, 1)] for name in ("photo", "chart")
    }
    honest = [TrainedMember(name, own, own) for name, own in runs.items()]
    folds = meta_samples(plan, data)
    check_leakage(plan, honest, folds)
    # the table model of the other fold was fitted on this one's samples
    swapped = [honest[0], replace(honest[1], held_out=runs["chart"][::-1])]
    with pytest.raises(LeakageError, match="chart"):
        check_leakage(plan, swapped, folds)


def weights(folder, name):
    return folder / name / "checkpoints/best.ckpt"


def test_stack__is_one_file_that_is_tested_and_predicts(mixed, capsys):
    folder, _, _, result = mixed
    stack = folder / "stack/checkpoints/stack.ckpt"
    args = ["--figures.draw", "false", "--trainer.accelerator", "cpu"]
    assert (
        main(["test", "--ckpt_path", str(stack), *args, "--run.name", "again", "--trainer.enable_progress_bar=false"])
        == 0
    )
    again = json.loads((folder / "again/result.json").read_text())
    assert again["test"]["accuracy"] == pytest.approx(result["test"]["accuracy"])
    assert again["test"]["nll"] == pytest.approx(result["test"]["nll"], abs=1e-3)
    model = load_classifier(stack)
    assert sorted(model.read) == ["image", "table"]
    with pytest.raises(ValueError, match=r"a stack of models on images and on tables: predict with --data Manifest"):
        francesinha.load(stack)
    with pytest.raises(ValueError, match=r"TableClassifier needs the table of each sample beside its image"):
        model(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_head__trained_by_fit_stacks_them_too(mixed, tmp_path):
    folder, plan, *_ = mixed
    bases = [str(weights(folder, name)) for name in ("photo-fold0", "chart-fold0")]
    data = {"data": "Manifest", "data.features": "[age, ward]", "data.path": plan.options["data.path"]}
    held = {"data.num_folds": 2, "data.fold": 0, "data.held_out": "stack", "run.root": tmp_path}
    head = {"model.meta_model": "LogisticHead", "model.meta_model.C": 1}
    options = {"model": "StackingModule", **head, "model.bases": f"[{', '.join(bases)}]", **data, **held}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    quiet = [
        "--trainer.max_epochs",
        "1",
        "--trainer.enable_progress_bar",
        "false",
        "--trainer.accelerator",
        "cpu",
        "--model.logit_cache",
        "null",
    ]
    assert main(["fit", *words, *quiet]) == 0
    result = json.loads((tmp_path / "manifest/stacking_module/result.json").read_text())
    assert result["leakage"] == {"allowed": [], "warnings": []}


def test_member__of_a_table_alone_is_refused_on_images(mixed, tmp_path):
    folder, plan, *_ = mixed
    path = plan.options["data.path"]
    alone = TableData(path=path, features=["age", "ward"], id="path")
    beside = Manifest(path=path, features=["age", "ward"])
    assert alone.info.table.names == beside.info.table.names
    with pytest.raises(ValueError, match=r"knows its samples by rows, and the stack by images: .*--data.features"):
        alone.info.check_compatible(beside.info, "a member", "the stack")
    assert read_base(weights(folder, "chart-fold0")).reads == "table"


def test_manifest__features_are_read_as_a_table_is(tmp_path):
    path = write_patients(tmp_path, 40)
    data = Manifest(path=path, features=["age", "ward"])
    batch = next(iter(data.test_dataloader()))
    assert batch["image"].shape[1:] == (1, 8, 8)
    assert batch["table"].shape[1:] == (2,)
    assert data.info.table.known_by == "images"
    with pytest.raises(ValueError, match=r"no column 'agee', which --data.features names; did you mean age?"):
        Manifest(path=path, features=["agee"]).dataset  # noqa: B018
    with pytest.raises(ValueError, match=r"--data.features names 'label': a model would only copy the label"):
        Manifest(path=path, features=["age", "label"]).dataset  # noqa: B018
