import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from datamodules.data_record import DataChangedError
from ensembling import folds
from ensembling.folds import meta_folds
from ensembling.heads.fitting import LogisticHead, MLPHead
from ensembling.leakage import Leakage, LeakageError
from ensembling.logits import to_features
from lightning_modules import MLP, CustomCNN, SmallCNN, StackingModule, member_logits
from lightning_modules.checkpoint_io import file_sha256
from lightning_modules.checkpoints import load_classifier
from tests.helpers.data import Blobs
from tests.helpers.training import fit, trainer


def blobs(**options):
    return Blobs(**{"count": 150, "val_fraction": 0.2, "stack_fraction": 0.3, **options})


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Three bases of different families and input sizes, fitted on the same split."""
    paths = []
    for model_class, options in (
        (MLP, {"hidden": [8]}),
        (SmallCNN, {}),
        (CustomCNN, {"channels": [4, 8], "dense": 8, "input_size": 8}),
    ):
        folder = tmp_path_factory.mktemp(model_class.__name__)
        data = blobs()
        model = model_class(data_info=data.info, optimizer=lambda p: torch.optim.AdamW(p, lr=0.01), **options)
        paths.append(fit(model, data, folder).rename(folder / f"{model_class.__name__}.ckpt"))
    return paths


def stack(checkpoints, data, **options):
    options = {"logit_cache": None, **options}
    return StackingModule(data_info=data.info, bases=[str(path) for path in checkpoints], **options)


def snapshot(bases):
    return [{name: value.clone() for name, value in base.state_dict().items()} for base in bases]


@pytest.mark.parametrize("head", [LogisticHead(), MLPHead(hidden=[16])])
def test_fit__leaves_the_bases_as_they_are(checkpoints, tmp_path, head):
    data = blobs()
    model = stack(checkpoints, data, meta_model=head)
    before, files = snapshot(model.base_models), [file_sha256(path) for path in checkpoints]
    model.train()
    fit(model, data, tmp_path, max_epochs=2)
    model.train()
    model(data.splits["train"].source.gather(torch.arange(20)))
    for base, state in zip(model.base_models, before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in base.state_dict().items())
        assert not any(module.training for module in base.modules())
        assert not any(parameter.requires_grad for parameter in base.parameters())
    assert [file_sha256(path) for path in checkpoints] == files


def count_loads(monkeypatch, calls):
    """Note each time that a base is built, and each batch that it computes."""

    def load(path, digest):
        base = load_classifier(path, digest)
        base.register_forward_hook(lambda *_: calls.append(("run", path.stem)))
        calls.append(("load", path.stem))
        return base

    monkeypatch.setattr(member_logits, "load_classifier", load)


def test_fit__runs_each_base_once_a_split(checkpoints, tmp_path, monkeypatch):
    data, calls = blobs(batch_size=1000), []
    count_loads(monkeypatch, calls)
    fit(stack(checkpoints, data, meta_model=MLPHead(hidden=[8])), data, tmp_path, max_epochs=5)
    # three bases, the stack and the val split in one batch each, in five epochs
    assert len([call for call in calls if call[0] == "run"]) == 6


def test_fit__a_second_one_builds_no_base(checkpoints, tmp_path, monkeypatch):
    data, calls = blobs(), []
    first = stack(checkpoints, data, logit_cache=str(tmp_path / "cache"))
    fit(first, data, tmp_path)
    count_loads(monkeypatch, calls)
    second = stack(checkpoints, data, logit_cache=str(tmp_path / "cache"))
    fit(second, data, tmp_path)
    assert not calls
    assert torch.equal(first.head.weight, second.head.weight)
    trainer(tmp_path).test(second, datamodule=data, verbose=False)
    # no logits of the test split were in the cache
    assert {name for kind, name in calls if kind == "load"} == {path.stem for path in checkpoints}


def test_fit__random_numbers_do_not_depend_on_what_was_known(checkpoints, tmp_path):
    data, heads = blobs(), []
    for _ in range(2):
        torch.manual_seed(0)
        head = MLPHead(hidden=[8], dropout=0.5)
        heads.append(stack(checkpoints, data, meta_model=head, logit_cache=str(tmp_path / "cache")))
        fit(heads[-1], data, tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(heads[0].parameters(), heads[1].parameters(), strict=True))


def test_fit__a_full_cache_folder_is_a_warning(checkpoints, tmp_path):
    data = blobs()
    (tmp_path / "file").write_text("no folder can be made below it")
    with pytest.warns(UserWarning, match="logits cannot be kept in .*another folder by the option logit_cache"):
        fit(stack(checkpoints, data, logit_cache=str(tmp_path / "file" / "cache")), data, tmp_path)


def test_tta__reaches_training_and_forward(checkpoints, tmp_path):
    data = blobs()
    model = stack(checkpoints, data, tta="flip")
    fit(model, data, tmp_path)
    samples = data.splits["stack"]
    images = samples.source.gather(samples.rows)
    with torch.no_grad():
        both = torch.stack(
            [torch.stack([base(v).softmax(1) for base in model.base_models], 1) for v in (images, images.flip(3))]
        )
    assert torch.allclose(model._meta[0].exp(), both.mean(0), atol=1e-5)
    assert torch.allclose(model(images), model.combine(both.mean(0).log()), atol=1e-3)


@pytest.mark.parametrize("features", ["logits", "log_probabilities", "probabilities"])
def test_logistic__equals_scikit_learn_on_the_same_features(checkpoints, tmp_path, features):
    data = blobs()
    model = stack(checkpoints, data, meta_model=LogisticHead(C=0.5, features=features))
    fit(model, data, tmp_path)
    samples = data.splits["stack"]
    with torch.no_grad():
        logits = torch.stack([b(samples.source.gather(samples.rows)) for b in model.base_models], 1)
    x = to_features(logits.double(), features).numpy()
    reference = LogisticRegression(C=0.5, tol=1e-10, max_iter=100_000).fit(x, samples.labels.numpy())
    ours = model.combine(logits).detach().softmax(1).numpy()
    assert np.abs(ours - reference.predict_proba(x)).max() < 1e-4


class Patients(Blobs):
    """Blobs of patients with five images each."""

    def load(self):
        dataset = super().load()
        return replace(dataset, train=replace(dataset.train, groups=torch.arange(len(dataset.train)) // 5))


def test_logistic__its_folds_divide_no_group(checkpoints, tmp_path, monkeypatch):
    dealt = []

    def deal(labels, folds, seed, groups=None, lower=True):
        dealt.append((meta_folds(labels, folds, seed, groups, lower), groups))
        return dealt[-1][0]

    monkeypatch.setattr(folds, "meta_folds", deal)
    data = Patients(count=150, val_fraction=0.2, stack_fraction=0.3)
    fit(stack(checkpoints, data, meta_model=LogisticHead(C_count=2), allow_leakage=True), data, tmp_path)
    ((numbers, groups),) = dealt
    patients = data.splits["stack"].groups
    assert torch.equal(groups, patients)
    assert all(len(numbers[patients == patient].unique()) == 1 for patient in patients.unique())


def test_mlp_head__learns(checkpoints, tmp_path):
    data = blobs()
    model = stack(checkpoints, data, meta_model=MLPHead(hidden=[16]), optimizer=lambda p: torch.optim.Adam(p, lr=0.02))
    fitting = trainer(tmp_path, max_epochs=20, enable_checkpointing=False)
    fitting.fit(model, datamodule=data)
    assert fitting.callback_metrics["val/accuracy"] > 0.85


def test_checkpoint__is_small_and_finds_its_bases(checkpoints, tmp_path):
    data = blobs()
    model = stack(checkpoints, data)
    path = fit(model, data, tmp_path)
    saved = torch.load(path, weights_only=True)
    assert set(saved["state_dict"]) == {"head.weight", "head.bias", "head.C"}
    again = stack(checkpoints, blobs())
    testing = trainer(tmp_path)
    testing.test(again, datamodule=blobs(), ckpt_path=path, verbose=False)
    assert torch.equal(again.head.weight, model.head.weight)


def test_test_and_predict__agree_with_the_forward_pass(checkpoints, tmp_path):
    data = blobs()
    model = stack(checkpoints, data)
    fit(model, data, tmp_path)
    testing = trainer(tmp_path)
    testing.test(model, datamodule=data, verbose=False)
    tested = model.predictions["logits"]
    testing.predict(model, datamodule=data)
    assert torch.equal(model.predictions["logits"], tested)
    samples = data.splits["test"].subset(data.splits["test"].ids.argsort())
    with torch.no_grad():
        direct = model.eval()(samples.source.gather(samples.rows))
    assert torch.allclose(direct, tested, atol=1e-4)
    assert [member["name"] for member in model.members] == ["MLP", "SmallCNN", "CustomCNN", "mean of members"]


def test_datamodule__serves_images_again_afterwards(checkpoints, tmp_path):
    data = blobs()
    fit(stack(checkpoints, data), data, tmp_path)
    assert "image" in next(iter(data.train_dataloader()))


def test_leakage__a_base_fitted_on_the_meta_samples_is_refused(checkpoints, tmp_path):
    data = blobs(split_seed=1)
    with pytest.raises(LeakageError, match=r"MLP was fitted on \d+ of the meta-training samples"):
        fit(stack(checkpoints, data), data, tmp_path)


def test_leakage__the_override_is_recorded(checkpoints, tmp_path):
    data = blobs(split_seed=1)
    model = stack(checkpoints, data, allow_leakage=True)
    with pytest.warns(UserWarning, match="MLP was fitted on"):
        path = fit(model, data, tmp_path)
    again = stack(checkpoints, data)
    trainer(tmp_path).test(again, datamodule=data, ckpt_path=path, verbose=False)
    assert len(again.leakage.problems()) == 3


def test_leakage__training_on_val_is_a_selection_warning(checkpoints, tmp_path):
    data = blobs()
    model = stack(checkpoints, data, train_on="val")
    with pytest.warns(UserWarning, match="was selected on 30 meta-training samples"):
        fit(model, data, tmp_path)
    assert not model.leakage.problems()


def test_train_on_val__without_a_stack_split_validates_on_a_fifth_of_it(checkpoints, tmp_path):
    data = blobs()
    # the same val split as the bases', and no stack split
    data.splits["stack"] = data.splits["stack"].subset(torch.arange(0))
    model = stack(checkpoints, data, train_on="val")
    fit(model, data, tmp_path)
    meta, labels, _ = model._meta
    assert len(meta) == len(labels) == 24


def test_train_on__an_empty_split_says_what_to_set(checkpoints, tmp_path):
    data = blobs(stack_fraction=0.0)
    with pytest.raises(ValueError, match="--data.stack_fraction above 0"):
        fit(stack(checkpoints, data), data, tmp_path)


def test_bases__missing_changed_or_reordered(checkpoints, tmp_path):
    data = blobs()
    copies = [shutil.copy(path, tmp_path / path.name) for path in checkpoints]
    path = fit(stack(copies, data), data, tmp_path)
    with pytest.raises(ValueError, match="has changed since the stack was trained over it"):
        trainer(tmp_path).test(stack(copies[::-1], data), datamodule=data, ckpt_path=path, verbose=False)
    with pytest.raises(ValueError, match="trained over 3 members, not 2"):
        trainer(tmp_path).test(stack(copies[:2], data), datamodule=data, ckpt_path=path, verbose=False)
    copies[0].unlink()
    with pytest.raises(FileNotFoundError, match="MLP.ckpt does not exist: was it moved"):
        stack(copies, data)


def test_bases__of_other_classes_are_refused(checkpoints):
    data = blobs()
    other = data.info.__class__(**{**data.info.plain(), "class_names": ["a", "b", "c"]})
    with pytest.raises(ValueError, match="MLP.ckpt has class_names"):
        StackingModule(data_info=other, bases=[str(checkpoints[0])])


def test_bases__a_stack_is_no_base(checkpoints, tmp_path):
    data = blobs()
    path = fit(stack(checkpoints, data), data, tmp_path)
    with pytest.raises(ValueError, match=r"a stack's members are classifiers"):
        stack([path], data)


def test_bases__none_given():
    with pytest.raises(ValueError, match="--model.bases"):
        StackingModule(data_info=blobs().info)


def test_provenance__holds_head_and_bases(checkpoints, tmp_path):
    data = blobs()
    record = torch.load(fit(stack(checkpoints, data), data, tmp_path), weights_only=True)["provenance"]
    assert torch.equal(record["fitted"], data.splits["train"].keys.unique())
    assert torch.equal(record["selected"], data.splits["val"].keys.unique())
    assert torch.equal(record["calibrated"], data.splits["stack"].keys.unique())


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "bf16-mixed"])
def test_fit__in_other_precisions(checkpoints, tmp_path, precision):
    data = blobs()
    model = stack(checkpoints, data)
    fitting = trainer(tmp_path, precision=precision, enable_checkpointing=False)
    fitting.fit(model, datamodule=data)
    assert fitting.callback_metrics["val/accuracy"] > 0.5


def test_leakage__validating_on_what_a_base_was_fitted_on_is_a_warning(checkpoints, tmp_path):
    data = blobs()
    # honest meta-training samples, but the bases' training samples to validate on
    data.splits["val"] = data.splits["train"]
    with pytest.warns(UserWarning, match="fitted on 75 of the samples that the stack is validated on"):
        fit(stack(checkpoints, data), data, tmp_path)


def relabelled(data):
    """The same data, of which one label has changed."""
    train = data.dataset.train
    labels = train.labels.clone()
    labels[7] = (labels[7] + 1) % 3
    now = blobs()
    vars(now)["dataset"] = replace(data.dataset, train=replace(train, labels=labels))
    return now


def test_changed_data__is_refused_before_the_leak_guard_looks(checkpoints, tmp_path):
    now = relabelled(blobs())
    with pytest.raises(DataChangedError, match=r"MLP was trained on data that has changed since: labels differ"):
        fit(stack(checkpoints[:1], now), now, tmp_path)
    model = stack(checkpoints[:1], now, allow_changed=True, allow_leakage=True)
    path = fit(model, now, tmp_path)
    (sentence,) = leakage_of(path).changed
    assert sentence.startswith("MLP was trained on data that has changed since: labels differ")


def leakage_of(path):
    return Leakage(**torch.load(path, weights_only=True)["leakage"])


def test_unknown_images__are_refused_and_told_where_they_are_allowed(checkpoints, tmp_path):
    data = blobs()
    saved = torch.load(checkpoints[0], weights_only=True)
    saved["provenance"] |= {"unknown": ["x.safetensors"]}
    torch.save(saved, tmp_path / "base.ckpt")
    with pytest.raises(LeakageError, match=r"base was fitted on unknown images: x\.safetensors.* allow_unknown true"):
        fit(stack([tmp_path / "base.ckpt"], data), data, tmp_path)
    path = fit(stack([tmp_path / "base.ckpt"], data, allow_unknown=True), data, tmp_path)
    assert leakage_of(path).unknown_images() == ["base was fitted on unknown images: x.safetensors"]
    assert torch.load(path, weights_only=True)["provenance"]["unknown"] == ["x.safetensors"]


def test_classes_by_number_alone__are_told_of_bases_of_other_data(checkpoints, tmp_path):
    data = blobs()
    saved = torch.load(checkpoints[0], weights_only=True)
    saved["data_record"]["place"] = {"class": "datamodules.sets.npz.Npz", "path": "other.npz"}
    saved["architecture"]["init_args"]["data_info"]["class_names"] = ["0", "1", "2"]
    torch.save(saved, tmp_path / "base.ckpt")
    vars(data)["dataset"] = replace(data.dataset, class_names=["0", "1", "2"])
    path = fit(stack([tmp_path / "base.ckpt"], data), data, tmp_path)
    note = leakage_of(path).warnings()[-1]
    assert note.startswith("base: trained on other data, and its classes are known by number alone")


@pytest.mark.parametrize("head", [LogisticHead(C=1.0), MLPHead(hidden=[8])], ids=lambda head: head.name)
def test_meta_val_fraction__of_0_trains_on_all(checkpoints, tmp_path, head):
    data = blobs(val_fraction=0.5, stack_fraction=0.0)
    options = {"train_on": "val", "meta_model": head, "allow_leakage": True}
    fitted = {}
    for share in (0.2, 0.0):
        model = stack(checkpoints, data, meta_val_fraction=share, **options)
        (tmp_path / str(share)).mkdir()
        path = fit(model, data, tmp_path / str(share))
        fitted[share] = {int(key) for key in torch.load(path, weights_only=True)["provenance"]["calibrated"]}
    assert fitted[0.0] == set(data.splits["val"].keys.tolist())
    assert fitted[0.2] < fitted[0.0]
    assert not model.predictions
    testing = trainer(tmp_path)
    testing.test(model, datamodule=data, verbose=False)
    assert model.metrics["nll"] > 0
    with pytest.raises(ValueError, match="nothing to validate on: no sample is held out for it: set --model.meta_val"):
        trainer(tmp_path).validate(model, datamodule=data, verbose=False)


def test_meta_val_fraction__of_0_gives_scikit_learns_head_on_all_of_val(checkpoints, tmp_path):
    data = blobs(val_fraction=0.5, stack_fraction=0.0)
    options = {"train_on": "val", "meta_model": LogisticHead(C=1.0), "meta_val_fraction": 0.0, "allow_leakage": True}
    model = stack(checkpoints, data, **options)
    fit(model, data, tmp_path)
    samples = data.splits["val"]
    with torch.no_grad():
        logits = torch.stack([b(samples.source.gather(samples.rows)) for b in model.base_models], 1)
    x = to_features(logits.double(), "logits").numpy()
    reference = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(x, samples.labels.numpy())
    with torch.no_grad():
        ours = model.head(logits).softmax(1).numpy()
    assert np.abs(ours - reference.predict_proba(x)).max() < 1e-4


def test_meta_val_fraction__is_left_alone_where_a_split_is_free(checkpoints):
    data = blobs()
    model = stack(checkpoints, data, meta_val_fraction=0.0)
    train, val = model.meta_splits(data)
    assert torch.equal(train.ids, data.splits["stack"].ids)
    assert torch.equal(val.ids, data.splits["val"].ids)
    assert model.unvalidated(data) is None
    with pytest.raises(ValueError, match="--model.meta_val_fraction must be"):
        stack(checkpoints, data, meta_val_fraction=1.0)
