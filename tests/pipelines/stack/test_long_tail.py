"""A stack over long-tailed data: its held-out samples have the long tail too, and its heads are fitted for balance."""

import pytest
import torch
from safetensors.torch import load_file

from ensembling.judging.reject import Reject
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.plan_check import check
from tests.helpers.second_stage import make, stacked, train

TAIL = {
    "data.long_tail": "exponential",
    "data.imbalance_ratio": 20,
    "data.long_tail_in": "all",
    "data.stack_fraction": 0.3,
    "data.val_fraction": 0.0,
    "trainer.max_epochs": 6,
}


def members():
    plain = {"model": "MLP", "model.hidden": [16]}
    decoupled = {**plain, "model.freeze": "backbone", "data.sampler": "balanced", "model.frozen_cache": None}
    return [Member("plain", options=plain, seed=1), Member("decoupled", options=decoupled, starts_from="plain")]


@pytest.fixture(scope="module")
def tail(tmp_path_factory):
    root = tmp_path_factory.mktemp("tail")
    folder = train(make(root, options=TAIL, members=members(), allow_unknown=True), root / "x")
    with pytest.MonkeyPatch.context() as patch:
        # others look at figures
        patch.setattr("pipelines.stack.second_stage.draw_stack", lambda stack: [])
        found = {}
        for name, balanced in (("as_it_is", False), ("balanced", True)):
            asked = {"options": TAIL, "members": members(), "keep": "logistic", "stack_name": name}
            found[name] = stacked(make(root, balanced=balanced, **asked), folder)
    return folder, found


def test_starts_from__the_backbone_stays_and_the_head_is_new(tail):
    folder, _ = tail
    first, second = (
        torch.load(folder / name / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("plain", "decoupled")
    )
    backbone = [name for name in first if name.startswith("backbone.")]
    assert backbone
    assert all(torch.equal(first[name], second[name]) for name in backbone)
    assert not torch.equal(first["head.weight"], second["head.weight"])


def test_balanced__each_class_counts_alike_and_files_hold_each_sample_once(tail):
    folder, found = tail
    (_, plain), (printed, balanced) = found["as_it_is"], found["balanced"]
    files = load_file(folder / "balanced/logits.safetensors")
    ids, labels = files["meta/id"], files["meta/label"]
    counts = labels.bincount()
    assert len(ids) == len(ids.unique()) == balanced["samples"]["meta"] == plain["samples"]["meta"]
    assert torch.equal(load_file(folder / "balanced/predictions.safetensors")["val/id"], ids)
    assert balanced["fingerprints"] == plain["fingerprints"]
    assert counts.max() > 10 * counts.min()
    assert balanced["stack"]["held_out_samples"] == len(ids)
    # accuracy on held-out rows is the balanced accuracy of the samples
    row = next(row for row in balanced["stack"]["models"] if row["name"] == "plain")
    right = files["meta/logits"][:, 0].argmax(1) == labels
    recall = torch.stack([right[labels == label].double().mean() for label in range(10)]).mean()
    # samples of a class are not repeated quite equally often
    assert row["held_out"]["accuracy"]["value"] == pytest.approx(float(recall), abs=0.02)
    assert f"repeat {len(ids)} held-out samples so that classes count alike" in " ".join(printed.split())
    assert "prediction sets for classes as frequent as in the held-out samples" in str(balanced["stack"]["notes"])
    assert balanced["test_sets"]["calibrated_on"]["samples"] == len(ids)


def test_balanced__the_head_is_fitted_for_equally_frequent_classes(tail):
    folder, found = tail
    shares = {}
    for name, (_, result) in found.items():
        assert result["kept"] == "logistic"
        logits = load_file(folder / name / "predictions.safetensors")["test/logits"]
        shares[name] = float(logits.double().softmax(1)[:, 7:].sum(1).mean())
    # 30 % of the test images are of the rarest three classes
    assert shares["balanced"] > 1.3 * shares["as_it_is"]
    assert shares["balanced"] < 0.4


def test_report__tells_frequent_and_rare_classes_apart(tail):
    printed, result = tail[1]["as_it_is"]
    for row in result["stack"]["models"]:
        recalls = row["by_frequency"]
        whole = (4 * recalls["many"] + 3 * recalls["medium"] + 3 * recalls["few"]) / 10
        assert whole == pytest.approx(row["metrics"]["balanced_accuracy"]["value"])
    assert all(word in printed for word in ("many", "medium", "few"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"reject": Reject(accuracy=0.9)}, "balanced and reject cannot be given together"),
        ({"repeats": 2}, "balanced and repeats cannot be given together"),
    ],
)
def test_balanced__what_it_cannot_go_with_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        StackPlan(members(), balanced=True, **changes)


def test_members__with_other_tails_are_refused_where_held_out_samples_have_them():
    other = Member("other", options={"model": "Linear", "data.imbalance_ratio": 5})
    with pytest.raises(ValueError, match="'plain' and 'other' differ in data.imbalance_ratio"):
        check(StackPlan([*members(), other], options=TAIL))
    check(StackPlan([*members(), other], options={**TAIL, "data.long_tail_in": "train"}))
