import json

import numpy as np
import pytest
import torch
import yaml

from callbacks import SoftTargets
from callbacks.soft_targets import held_out_logits
from datamodules import Digits
from lightning_modules import Linear
from lightning_modules.checkpoints import read_checkpoint
from pipelines.distill import command
from pipelines.distill.comparison import Scored, gains
from pipelines.main import main
from records.result_files import read_predictions, read_result, write_json
from records.run_dir import RunDir
from tests.helpers.second_stage import QUICK, make, stacked, train
from tests.helpers.training import fit

STUDENT = ["configs/data/digits.yaml", "configs/model/linear.yaml"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A finished out-of-fold stack of two small members on digits."""
    root = tmp_path_factory.mktemp("teacher")
    plan = make(root, mode="oof", num_folds=2, options={"data.test_fraction": 0.6, "trainer.max_epochs": 2})
    stacked(plan, train(plan, root / "x"))
    return root / "x/stack"


def in_this_process(plan, cells, settings, folder, console):
    for cell in cells:
        assert main([*cell.command(folder), "--figures.draw=false"]) == 0
        assert main(list(command.test_command(cell, folder, {}))) == 0


@pytest.fixture
def distill(teacher, tmp_path, monkeypatch):
    """Runs the command with its cells in this process; returns its exit status."""
    monkeypatch.setattr(command, "run_cells", in_this_process)

    def run(*words, **changes):
        options = {**QUICK, "data.test_fraction": 0.6, "trainer.max_epochs": 2, **changes.pop("options", {})}
        plan = {"stack": str(teacher), "fragments": STUDENT, "options": options, "root": str(tmp_path), "page": False}
        path = tmp_path / "plan.yaml"
        path.write_text(yaml.safe_dump({**plan, "seeds": [0, 1], **changes}))
        return main(["distill", "--config", str(path), *words])

    return run


def test_main__compares_the_student_with_itself_alone_and_with_the_stack(distill, teacher, tmp_path, capsys):
    assert distill(weight=0.9, temperature=1.5) == 0
    folder, printed = tmp_path / "distilled", capsys.readouterr().out
    found = json.loads((folder / "distill.json").read_text())
    assert set(found["models"]) == {"alone", "distilled", "stack"}
    stack = json.loads((teacher / "result.json").read_text())
    assert found["models"]["stack"]["accuracy"] == pytest.approx(stack["test"]["accuracy"])
    runs = [json.loads((folder / f"alone-seed{seed}/result.json").read_text()) for seed in (0, 1)]
    assert found["models"]["alone"]["by_seed"]["nll"] == pytest.approx([run["test"]["nll"] for run in runs])
    gain = found["gains"]["distilled over alone"]["accuracy"]
    assert gain["value"] == pytest.approx(
        found["models"]["distilled"]["accuracy"] - found["models"]["alone"]["accuracy"]
    )
    assert gain["low"] < gain["value"] < gain["high"]
    assert "distilled over alone in accuracy" in printed
    assert "Each training image's target comes from members and a head that had not seen it" in printed
    assert "| student distilled, mean of 2 |" in (folder / "distill.md").read_text()
    # both students of a seed start alike, and only one is taught
    assert found["models"]["alone"]["parameters"] == found["models"]["distilled"]["parameters"]
    assert runs[0]["test"] != json.loads((folder / "distilled-seed0/result.json").read_text())["test"]
    # what the stack has seen, its student has seen
    seen = read_checkpoint(RunDir(folder / "distilled-seed0").weights)["provenance"]
    alone = read_checkpoint(RunDir(folder / "alone-seed0").weights)["provenance"]
    taught = read_checkpoint(RunDir(teacher).stack)["provenance"]
    assert set(taught["fitted"].tolist()) <= set(seen["fitted"].tolist())
    assert len(alone["fitted"]) < len(seen["fitted"])


def test_soft_targets__the_whole_stack_may_teach_augmented_images(teacher, tmp_path):
    data = Digits(test_fraction=0.6, augmentation=("crop",), batch_size=256)
    model = Linear(data_info=data.info)
    taught = SoftTargets(str(RunDir(teacher).stack), out_of_fold=False, weight=1.0)
    fit(model, data, tmp_path, max_epochs=1, callbacks=[taught])
    with pytest.raises(ValueError, match="is another stack than when this training was planned"):
        fit(model, data, tmp_path, callbacks=[SoftTargets(str(RunDir(teacher).stack), digest="0")])


@pytest.mark.parametrize(
    ("changes", "words", "message"),
    [
        ({"options": {"data.test_fraction": 0.5}}, (), "the student's test samples are not those of"),
        ({"stack": "nowhere"}, (), "--stack nowhere: there is no finished stack"),
        ({"options": {"seed_everything": 1}}, (), "seed_everything in options is set by the plan: use its seeds"),
        ({"seeds": [1]}, (), "seeds must be at least two different ones"),
        ({}, ("--weight", "0"), "--weight"),
        ({}, ("--wieght", "0.5"), "--weight"),
        ({"options": {"model.dropuot": 0.5}}, (), "dropuot"),
    ],
)
def test_main__what_cannot_be(distill, capsys, changes, words, message):
    assert distill(*words, **changes) == 2
    assert message in capsys.readouterr().err


def test_main__a_stack_of_another_mode_has_no_target_for_most_images(distill, teacher, capsys):
    path = teacher / "result.json"
    kept = path.read_text()
    write_json(path, {n: v for n, v in read_result(path).items() if n != "digest"} | {"mode": "holdout"})
    assert distill() == 2
    path.write_text(kept)
    assert "stack in mode oof, or let the whole stack teach by --augmented true" in capsys.readouterr().err


def test_held_out_logits__are_those_of_the_kept_model_in_order(teacher):
    path = RunDir(teacher).stack
    found = read_predictions(RunDir(teacher).predictions)
    ids, logits = held_out_logits(path, found["val/id"][:5])
    assert torch.equal(ids, found["val/id"].sort().values)
    place = int((ids == found["val/id"][3]).nonzero())
    assert torch.equal(logits[place], found["val/logits"][3].double())
    with pytest.raises(ValueError, match=r"1 of 2 training images have no held-out prediction"):
        held_out_logits(path, torch.tensor([int(ids[0]), 5]))


def test_gains__are_paired_by_image_and_seed():
    labels = torch.arange(40) % 2
    good = torch.nn.functional.one_hot(labels, 2).double() * 4
    bad = good.clone()
    bad[:10] = bad[:10].flip(1)
    better, worse = (Scored(torch.arange(40), labels, logits, None) for logits in (good, bad))
    found = gains([better, better], [worse, worse])["accuracy"]
    assert found["value"] == pytest.approx(0.25)
    assert found["seeds"] == 0
    assert found["low"] > 0
    assert gains([better] * 2, [better] * 2)["nll"]["value"] == 0
    assert np.isfinite(found["images"])


def test_main__a_dry_run_checks_and_starts_nothing(distill, tmp_path, capsys):
    assert distill("--dry_run", "true") == 0
    assert "4 cells, 0 of them done" in capsys.readouterr().out
    assert not (tmp_path / "distilled").exists()
    assert distill("--dry_run", "true", options={"data.test_fraction": 0.5}) == 2
    assert "the student's test samples are not those of" in capsys.readouterr().err
