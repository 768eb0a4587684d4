import hashlib

import pytest

from common.settings import flat
from lightning_modules.checkpoint_io import file_sha256
from pipelines.cells.settings import changed, with_digest
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.plan_check import check

SMALL = {"model": "MLP", "model.hidden": [8]}


def plan(tmp_path=None, **changes):
    options = {"data.stack_fraction": 0.2, "data.batch_size": 64, "trainer.max_epochs": 2}
    members = [Member("one", options=SMALL), Member("two", options={"model": "Linear"}, epochs=5)]
    return StackPlan(**{"members": members, "options": options, "root": str(tmp_path), **changes})


def test_check__knows_all_settings_of_each_cell():
    checked = check(plan(mode="oof", num_folds=2, options={}))
    assert set(checked.settings) == {"one-fold0", "one-fold1", "two-fold0", "two-fold1"}
    settings = checked.settings["one-fold1"]
    assert (settings["data.fold"], settings["data.num_folds"], settings["data.held_out"]) == (1, 2, "stack")
    assert (settings["model"], settings["model.hidden"], settings["data"]) == ("MLP", [8], "Digits")
    # a default
    assert settings["trainer.max_epochs"] == 30
    assert checked.settings["two-fold0"]["trainer.max_epochs"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model.hiden": [8], "model": "MLP"}, "member 'bad': unknown option --model.hiden; did you mean"),
        ({"trainer.max_epochs": "many"}, "member 'bad': --trainer.max_epochs takes"),
        ({"data.batch_size": 0}, "member 'bad': --data.batch_size must be at least 1"),
        ({"model": "NoModel"}, "member 'bad': --model: there is no Model 'NoModel'"),
        ({"data.split_seed": 1}, "members 'one' and 'bad' differ in data.split_seed"),
    ],
)
def test_check__a_bad_member_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        check(plan(members=[Member("one", options=SMALL), Member("bad", options=options)]))


def test_check__all_bad_members_are_named():
    bad = [Member(name, options={"data.split_seed": -1}) for name in ("two", "three")]
    bad.append(Member("four", options={"trainer.max_epochs": "many"}))
    message = (
        "members 'two', 'three': --data.split_seed must be at least 0, not -1; member 'four': --trainer.max_epochs"
    )
    with pytest.raises(ValueError, match=message):
        check(plan(members=[Member("one", options=SMALL), *bad]))


def test_check__all_differences_are_named():
    others = [Member(f"m{seed}", options=SMALL | {"data.split_seed": seed}) for seed in range(1, 6)]
    message = r"'one' and 'm1' differ in data.split_seed \(0, 1\), members 'one' and 'm2' .* and 2 more: the heads need"
    with pytest.raises(ValueError, match=message):
        check(plan(members=[Member("one", options=SMALL), *others]))


def test_check__a_missing_fragment_is_named():
    with pytest.raises(ValueError, match="member 'bad': config file '.*configs/no.yaml' does not exist"):
        check(plan(members=[Member("bad", ["configs/no.yaml"])]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {}}, "mode holdout fits the heads on the split stack, which is empty: set data.stack_fraction"),
        ({"mode": "val"}, "data.stack_fraction 0.2 and mode val cannot be given together"),
        ({"mode": "oof"}, "data.stack_fraction 0.2 and mode oof cannot be given together"),
    ],
)
def test_check__what_the_heads_are_fitted_on_must_be_there(changes, message):
    with pytest.raises(ValueError, match=message):
        check(plan(**changes))


def test_check__folds_of_a_fragment_are_noticed(tmp_path):
    fragment = tmp_path / "folds.yaml"
    fragment.write_text("data: {class_path: Digits, init_args: {num_folds: 3}}")
    with pytest.raises(ValueError, match="data.num_folds 3 of a fragment and the stack's mode oof cannot be given"):
        check(plan(mode="oof", options={}, fragments=[str(fragment)]))


@pytest.mark.parametrize(
    ("mode", "option", "values"),
    [
        ("holdout", {"data.image_size": 4}, r"data.image_size \(16, 4\)"),
        ("holdout", {"data": "ImageFolder"}, r"data \(Digits, ImageFolder\)"),
        ("holdout", {"data.val_fraction": 0.2}, r"data.val_fraction \(0.1, 0.2\)"),
        ("oof", {"data.image_size": 4}, r"data.image_size \(16, 4\)"),
        ("oof", {"data.split_seed": 1}, r"data.split_seed \(0, 1\)"),
        ("val", {"data.split_seed": 1}, r"data.split_seed \(0, 1\)"),
    ],
)
def test_check__members_share_samples_and_pixels(mode, option, values):
    members = [Member("one", options=SMALL), Member("two", options={"model": "Linear", **option})]
    options = {"data.stack_fraction": 0.2} if mode == "holdout" else {}
    with pytest.raises(ValueError, match=f"members 'one' and 'two' differ in {values}"):
        check(plan(mode=mode, options=options, members=members))


@pytest.mark.parametrize("option", [{"root": "b"}, {"channels": 1}, {"test_fraction": 0.4}, {"on_unreadable": "skip"}])
def test_check__members_share_files(option):
    files = {"data": "ImageFolder", "data.root": "a", "data.channels": 3}
    other = {f"data.{name}": value for name, value in option.items()}
    members = [Member("one", options=SMALL), Member("two", options={"model": "Linear", **other})]
    with pytest.raises(ValueError, match=f"differ in data.{next(iter(option))}"):
        check(plan(mode="oof", options=files, members=members))


def test_check__members_may_be_trained_differently():
    files = {"data": "ImageFolder", "data.stack_fraction": 0.2}
    own = {
        "data.batch_size": 7,
        "data.augmentation": ["flip"],
        "data.mixup": 0.2,
        "data.sampler": "balanced",
        "data.subsample": 0.5,
        "data.cache": "disk",
        "model.input_size": 32,
    }
    members = [Member("one", options=SMALL), Member("two", options={"model": "Linear", **own})]
    check(plan(options=files, members=members))
    own = {"data.val_fraction": 0.2}
    members = [Member("one", options=SMALL), Member("two", options={"model": "Linear", **own})]
    check(plan(mode="oof", options={}, members=members))


def test_check__a_number_in_place_of_a_text_is_named():
    options = {"data": "Manifest", "data.path": 12e4}
    with pytest.raises(
        ValueError, match=r"member 'one': data.path takes a text, and YAML reads yours as 120000.0: put it"
    ):
        check(plan(members=[Member("one", options=options)], options={"data.stack_fraction": 0.2}))


def test_with_digest__another_file_of_the_same_name_is_another_start(tmp_path):
    weights = tmp_path / "a.safetensors"
    config = {"model": {"class_path": "lightning_modules.MLP", "init_args": {"weights": str(weights)}}}
    assert with_digest(flat(config), file_sha256) == {"model": "MLP", "model.weights": str(weights)}
    found = []
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        found.append(with_digest(flat(config), file_sha256))
    (change,) = changed(*found)
    before, after = (hashlib.sha256(content).hexdigest() for content in (b"one", b"two"))
    assert change == f"model.weights (SHA-256) was {before}, is {after}"
