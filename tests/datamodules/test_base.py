import math
from dataclasses import replace
from types import SimpleNamespace

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.trainer.states import RunningStage

from datamodules.image_data import ImageDataModule
from datamodules.samplers import InOrder, Shuffled
from lightning_modules import MLP
from tests.helpers.data import Blobs, random_images


def with_trainer(data, rank=0, world_size=1, training=True):
    loop = SimpleNamespace(total_batch_idx=0)
    strategy = SimpleNamespace(broadcast=lambda value: value, root_device=torch.device("cpu"))
    state = SimpleNamespace(stage=RunningStage.TRAINING if training else RunningStage.TESTING)
    data.trainer = SimpleNamespace(
        global_rank=rank, world_size=world_size, state=state, fit_loop=loop, strategy=strategy
    )
    return data


def test_splits__are_disjoint_and_whole():
    data = Blobs(count=90, val_fraction=0.2, stack_fraction=0.1)
    ids = [set(data.splits[name].ids.tolist()) for name in ("train", "val", "stack", "test")]
    assert [len(part) for part in ids] == [63, 18, 9, 46]
    assert len(set.union(*ids)) == 63 + 18 + 9 + 46


def test_splits__do_not_depend_on_the_run_seed():
    first = Blobs().splits["val"].ids
    torch.manual_seed(99)
    assert torch.equal(first, Blobs().splits["val"].ids)
    assert not torch.equal(first, Blobs(split_seed=1).splits["val"].ids)


def test_info__comes_from_the_training_split():
    data = Blobs(channels=3)
    pixels = data.splits["train"].source.gather(data.splits["train"].rows).double() / 255
    assert data.info.num_classes == 3
    assert data.info.image_size == (16, 16)
    assert data.info.class_counts == np.bincount(data.splits["train"].labels).tolist()
    assert data.info.mean == pytest.approx(pixels.mean((0, 2, 3)).tolist(), abs=1e-5)
    assert data.info.std == pytest.approx(pixels.std((0, 2, 3), correction=0).tolist(), abs=1e-5)


def test_loader__an_indivisible_batch_size_says_so():
    data = with_trainer(Blobs(batch_size=15), world_size=2)
    with pytest.raises(ValueError, match="cannot be divided by 2: use 14 or 16"):
        data.train_dataloader()


def test_loader__batch_size_is_over_all_processes():
    sizes = [len(next(iter(with_trainer(Blobs(), rank, 2).train_dataloader()))["id"]) for rank in (0, 1)]
    assert sizes == [8, 8]


def test_val_dataloader__without_a_validation_split():
    assert Blobs(val_fraction=0.0).val_dataloader() == []


def test_augmentation__training_batches_alone():
    batch = {"image": random_images(4, 1, 16), "label": torch.zeros(4), "id": torch.arange(4)}
    training = with_trainer(Blobs(augmentation=("crop", "flip")))
    testing = with_trainer(Blobs(augmentation=("crop", "flip")), training=False)
    assert not torch.equal(training.on_after_batch_transfer(batch, 0)["image"], batch["image"])
    assert torch.equal(testing.on_after_batch_transfer(batch, 0)["image"], batch["image"])


def test_augmentation__processes_draw_differently():
    images = random_images(8, 1, 16)
    drawn = [
        with_trainer(Blobs(augmentation=("crop",)), rank, 2).on_after_batch_transfer({"image": images}, 0)["image"]
        for rank in (0, 1)
    ]
    assert not torch.equal(*drawn)


def test_serve__replaces_and_gives_back():
    data = Blobs()
    data.serve("test", data.splits["test"].subset(torch.arange(3)))
    assert len(data.served("test")) == 3
    assert len(data.samples("test")) == 31
    data.stop_serving()
    assert len(data.served("test")) == 31


@pytest.mark.parametrize(
    "option",
    [
        {"batch_size": 0},
        {"val_fraction": 1.0},
        {"val_fraction": math.nan},
        {"stack_fraction": -0.1},
        {"image_size": 0},
        {"num_workers": -1},
        {"split_seed": -1},
        {"fold": -1},
        {"subsample": math.nan},
        {"imbalance_ratio": math.inf, "long_tail": "step"},
        {"imbalance_ratio": math.nan, "long_tail": "step"},
        {"mixup": math.nan},
        {"cutmix": math.inf},
    ],
)
def test_options__out_of_range_are_named(option):
    with pytest.raises(ValueError, match=f"--data.{next(iter(option))}"):
        Blobs(**option)


@pytest.mark.parametrize("fractions", [(0.999, 0.1), (0.5, 0.5), (0.1, 0.95)])
def test_options__fractions_that_leave_nothing_to_train_on(fractions):
    val, stack = fractions
    message = f"--data.val_fraction {val} and --data.stack_fraction {stack} leave nothing to train on"
    with pytest.raises(ValueError, match=message):
        _ = Blobs(val_fraction=val, stack_fraction=stack).splits


def test_options__a_validation_split_of_its_own_leaves_its_share_alone():
    class WithVal(Blobs):
        def load(self):
            found = super().load()
            return replace(found, val=found.test)

    assert len(WithVal(val_fraction=0.1, stack_fraction=0.95).splits["train"]) == 3


@pytest.mark.parametrize(
    ("split", "message"),
    [
        ("train", "no sample in the train split: lower --data.val_fraction"),
        ("test", "no sample in the test split: set --data.test_fraction above 0"),
        ("predict", "no sample in the predict split: set --data.predict_root"),
    ],
)
def test_loaders__an_empty_split_says_how_it_gets_samples(split, message):
    data = Blobs()
    data.splits[split] = data.splits["stack"]
    data._predict_samples = data.splits["stack"]
    with pytest.raises(ValueError, match=message):
        getattr(data, f"{split}_dataloader")()


def test_info__all_classes_without_a_training_image_are_told():
    class Lacking(Blobs):
        def load(self):
            found = super().load()
            return replace(found, train=found.train.subset((found.train.labels == 0).nonzero()[:, 0]))

    with pytest.raises(ValueError, match="2 classes have no image in the training split: 'middle', 'right'"):
        _ = Lacking(val_fraction=0.0).info


def test_load__must_be_overridden():
    with pytest.raises(NotImplementedError, match="must override load"):
        _ = ImageDataModule().splits


def test_overfit_batches__means_the_same_ones_each_epoch():
    data = with_trainer(Blobs())
    data.trainer.overfit_batches = 1
    assert isinstance(data.train_dataloader().sampler.order, InOrder)
    data.trainer.overfit_batches = 0.0
    assert isinstance(data.train_dataloader().sampler.order, Shuffled)


def test_folds__are_disjoint_and_together_the_training_images():
    whole = set(Blobs(count=90).dataset.train.ids.tolist())
    held = [set(Blobs(count=90, num_folds=3, fold=fold).splits["val"].ids.tolist()) for fold in range(3)]
    assert [len(part) for part in held] == [30, 30, 30]
    assert set.union(*held) == whole


@pytest.mark.parametrize(
    ("held_out", "sizes"), [("val", (60, 30, 0, 46)), ("stack", (48, 12, 30, 46)), ("test", (48, 12, 0, 30))]
)
def test_held_out__becomes_the_split_that_was_asked_for(held_out, sizes):
    data = Blobs(count=90, val_fraction=0.2, num_folds=3, fold=1, held_out=held_out)
    assert tuple(len(data.splits[name]) for name in ("train", "val", "stack", "test")) == sizes
    assert data.splits[held_out].ids.tolist() == Blobs(count=90, num_folds=3, fold=1).splits["val"].ids.tolist()
    ids = torch.cat([data.splits[name].ids for name in ("train", "val", "stack")])
    assert len(ids.unique()) == len(ids)


def test_held_out_fold__uses_evaluation_transforms():
    data = with_trainer(Blobs(augmentation=("crop", "flip"), num_folds=3, held_out="stack"), training=False)
    batch = next(iter(data.loader(data.samples("stack"))))
    assert torch.equal(data.on_after_batch_transfer(batch, 0)["image"], batch["image"])
    assert batch["id"].tolist() == data.samples("stack").ids[: len(batch["id"])].tolist()


def test_subsample__thins_out_training_alone():
    whole, half, fifth = (Blobs(count=90, subsample=share) for share in (1.0, 0.5, 0.2))
    for name in ("val", "test"):
        assert torch.equal(whole.splits[name].ids, fifth.splits[name].ids)
    train = [set(data.splits["train"].ids.tolist()) for data in (fifth, half, whole)]
    assert [len(part) for part in train] == [15, 42, 81]
    assert train[0] < train[1] < train[2]
    assert fifth.info.class_counts == [5, 5, 5]


def test_test_subsample__thins_out_the_test_alone():
    whole, half, fifth = (Blobs(count=90, test_subsample=share) for share in (1.0, 0.5, 0.2))
    for name in ("train", "val", "stack"):
        assert torch.equal(whole.splits[name].ids, fifth.splits[name].ids)
    test = [set(data.splits["test"].ids.tolist()) for data in (fifth, half, whole)]
    assert [len(part) for part in test] == [9, 24, 46]
    assert test[0] < test[1] < test[2]
    assert fifth.splits["test"].labels.bincount().tolist() == [3, 3, 3]
    assert fifth.test_notes == ["tested on a part of the test split alone (--data.test_subsample 0.2)"]
    assert whole.test_notes == []


def test_augmentation__quarter_turns_of_images_that_are_not_square(monkeypatch):
    data = Blobs(augmentation=("quarter_turns",))
    data.dataset.train.source.tensor.resize_(60, 1, 8, 32)
    with pytest.raises(ValueError, match="--data.augmentation: quarter_turns needs square images, not 8x32"):
        _ = data.info


def test_long_tail__in_all_splits_but_the_test():
    tail = {"count": 300, "long_tail": "exponential", "imbalance_ratio": 9, "long_tail_in": "all"}
    data = Blobs(**tail, val_fraction=0.1, stack_fraction=0.2)
    counts = {name: samples.labels.bincount(minlength=3).tolist() for name, samples in data.splits.items()}
    # of 100, 33 and 11
    assert counts == {"train": [70, 23, 8], "val": [10, 3, 1], "stack": [20, 7, 2], "test": [51, 50, 50]}
    folds = [Blobs(**tail, num_folds=3, fold=fold, held_out="stack").splits["stack"].ids for fold in range(3)]
    drawn = torch.cat([samples.ids for name, samples in data.splits.items() if name != "test"])
    assert torch.equal(torch.cat(folds).sort().values, drawn.sort().values)
    with pytest.raises(ValueError, match="--data.long_tail_in all needs --data.long_tail"):
        Blobs(long_tail_in="all")


def test_long_tail__thins_out_training_alone():
    data = Blobs(count=300, long_tail="exponential", imbalance_ratio=9)
    assert data.info.class_counts == [90, 30, 10]
    assert data.splits["test"].labels.bincount().tolist() == [51, 50, 50]
    assert data.splits["val"].labels.bincount().tolist() == [10, 10, 10]
    # what is left out is not said to have been seen
    assert len(data.provenance.fitted) == 130


def test_splits__hold_the_images_once():
    data = Blobs(count=300, stack_fraction=0.2, subsample=0.5, sampler="balanced")
    assert len({data.splits[name].source.tensor.data_ptr() for name in ("train", "val", "stack")}) == 1


def test_sampler__serves_training_alone():
    data = with_trainer(Blobs(count=300, long_tail="step", imbalance_ratio=10, sampler="balanced", batch_size=32))
    labels = torch.cat([batch["label"] for batch in data.train_dataloader()])
    assert len(set(labels.bincount().tolist())) == 1
    val = torch.cat([batch["id"] for batch in data.val_dataloader()])
    assert torch.equal(val, data.splits["val"].ids)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_folds": 1}, "--data.num_folds must be at least 2"),
        ({"num_folds": 3, "fold": 3}, "--data.fold must be from 0 to 2, not 3"),
        ({"fold": 1}, "--data.fold needs --data.num_folds"),
        ({"num_folds": 3, "leave_out_source": "a"}, "--data.num_folds and --data.leave_out_source"),
        ({"held_out": "test"}, "--data.held_out test needs .* --data.num_folds"),
        (
            {"num_folds": 3, "held_out": "stack", "stack_fraction": 0.1},
            "--data.held_out stack and --data.stack_fraction",
        ),
        ({"imbalance_ratio": 10}, "--data.imbalance_ratio needs --data.long_tail"),
        ({"long_tail": "step", "imbalance_ratio": 0.1}, "--data.imbalance_ratio must be at least 1"),
        ({"subsample": 0.0}, "--data.subsample must be in"),
        ({"augmentation": ("crop", "resized_crop")}, "--data.augmentation cannot have both"),
    ],
)
def test_options__conflicts_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Blobs(**options)


def training_batch(**options):
    """The first training batch of a fit, as the model gets it, and as it was."""
    seen = []

    class Watching(MLP):
        def training_step(self, batch, batch_idx):
            seen.append(batch)
            return super().training_step(batch, batch_idx)

    data = Blobs(**options)
    pl.seed_everything(3)
    trainer_options = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    fitting = pl.Trainer(
        max_epochs=1, accelerator="cpu", limit_train_batches=1, enable_progress_bar=False, **trainer_options
    )
    fitting.fit(Watching(data_info=data.info, hidden=[4]), datamodule=data)
    train = data.splits["train"]
    rows = [train.ids.tolist().index(i) for i in seen[0]["id"].tolist()]
    return seen[0], train.source.gather(train.rows[rows])


def test_mixing__reaches_the_model_as_soft_targets():
    batch, original = training_batch(mixup=0.4, cutmix=1.0)
    assert batch["target"].shape == (16, 3)
    assert torch.equal(batch["target"].argmax(1), batch["label"])
    assert not torch.equal(batch["image"], original)


def test_strong_classes__alone_get_the_strong_augmentation():
    batch, original = training_batch(strong_augmentation=("cutout",), strong_classes=("middle",))
    assert "strong" not in batch
    changed = (batch["image"] != original).flatten(1).any(1)
    assert torch.equal(changed, batch["label"] == 1)
    assert changed.any()


def test_strong_classes__unknown_name():
    with pytest.raises(ValueError, match="there is no class 'midle'"):
        Blobs(strong_augmentation=("cutout",), strong_classes=("midle",)).info  # noqa: B018


def test_strong_classes__all_unknown_names_are_told():
    data = Blobs(strong_augmentation=("cutout",), strong_classes=("Middle", "top", " left"))
    with pytest.raises(
        ValueError, match=r"no class 'Middle' \(looks like 'middle'\), 'top' \(known: left, middle, right"
    ):
        _ = data.info


def test_strong_classes__need_an_augmentation():
    with pytest.raises(ValueError, match=r"strong_augmentation and --data.strong_classes need each other"):
        Blobs(strong_classes=("middle",))
