"""Manifests with the probability of each class in place of a label."""

import numpy as np
import pytest
import torch

from datamodules import Manifest
from datamodules.data_record import DataRecord, changes
from lightning_modules import MLP
from lightning_modules.training.losses import Focal
from tests.helpers.manifests import write
from tests.helpers.training import fit

CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def soft(table):
    """Rows whose class has most of the probability."""
    rng = np.random.default_rng(0)
    rows = []
    for row in table:
        others = rng.dirichlet([1, 1]) * 0.4
        shares = dict(zip([name for name in CLASSES if name != row["label"]], others, strict=True))
        shares[row["label"]] = 0.6
        rows.append({"path": row["path"], "split": row["split"], **{f"p({name})": shares[name] for name in CLASSES}})
    return rows


def test_soft_labels__losses_take_them_and_metrics_the_most_probable_class(image_folder, table, soft, tmp_path):
    data = Manifest(path=write(image_folder / "m.csv", soft), augmentation=(), batch_size=8)
    hard = Manifest(path=write(image_folder / "hard.csv", table, ["path", "label", "split"]))
    assert data.dataset.class_names == list(CLASSES)
    # the same splits, whose samples keep their labels
    for split in ("train", "val", "test"):
        assert torch.equal(data.splits[split].ids, hard.splits[split].ids)
        assert torch.equal(data.splits[split].labels, hard.splits[split].labels)
    batch = next(iter(data.train_dataloader()))
    assert batch["target"].dtype == torch.float32
    assert torch.allclose(batch["target"].sum(1), torch.ones(8))
    assert torch.equal(batch["target"].argmax(1), batch["label"])
    given = {row["path"]: [row[f"p({name})"] for name in CLASSES] for row in soft}
    samples = data.splits["train"]
    assert np.allclose(samples.targets, [given[name] for name in samples.sample_names()])

    model = MLP(data_info=data.info, hidden=[8], loss=Focal(gamma=1.5), dropout=0.0)
    model.batch_logits = lambda batch: torch.ones(8, 3).log_softmax(1) * torch.tensor([1.0, 2.0, 3.0])
    model.loss_watch.add = lambda *_: False
    logits = model.batch_logits(batch)
    p = logits.softmax(1)
    expected = (-batch["target"] * (1 - p) ** 1.5 * p.log()).sum(1).mean()
    assert model.training_step(batch, 0).item() == pytest.approx(expected.item())
    # and a fit goes through
    fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)


def test_soft_labels__are_mixed(image_folder, soft):
    data = Manifest(path=write(image_folder / "m.csv", soft), augmentation=(), batch_size=8, mixup=1.0)
    from datamodules.augmentation.mixing import mix

    batch = next(iter(data.train_dataloader()))
    _, mixed = mix(batch["image"], batch["target"], 3, 0.4, 0.0, np.random.default_rng(0))
    rng = np.random.default_rng(0)
    _, hot = mix(batch["image"], batch["label"], 3, 0.4, 0.0, rng)
    # what is certain is as certain as the share of its image
    assert torch.allclose(mixed.sum(1), torch.ones(8))
    assert not torch.allclose(mixed, hot)
    assert (mixed <= 0.6 + 1e-6).all()


def test_soft_labels__of_a_table_of_predictions_and_with_decimal_commas(image_folder, soft):
    for row in soft:
        row.update({name: f"{value:.3f}".replace(".", ",") for name, value in row.items() if name.startswith("p(")})
    data = Manifest(path=write(image_folder / "m.csv", soft))
    assert torch.allclose(data.splits["train"].targets.sum(1), torch.ones(len(data.splits["train"])))


def test_soft_labels__a_label_beside_them_settles_ties(image_folder, soft):
    for number, row in enumerate(soft):
        shares = (0.5, 0.5, 0) if number % 3 < 2 else (0, 0, 1)
        row |= {f"p({name})": share for name, share in zip(CLASSES, shares, strict=True)}
        row["label"] = ("cat", "dog", "eel")[number % 3]
    data = Manifest(path=write(image_folder / "m.csv", soft))
    assert data.dataset.train.labels.bincount().tolist() == [12, 12, 12]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"p(dog)": "0.9"}, r"row 1: its probabilities are not numbers from 0 that add up to 1 \(0.6, 0.9, .*.png\)"),
        ({"p(dog)": ""}, "row 1: its probabilities are not numbers .*empty"),
        ({"p(cat)": "-0.2", "p(dog)": "0.6", "p(eel)": "0.6"}, "not numbers from 0"),
        ({"label": "dog"}, "row 1: the label 'dog' is not the most probable class 'cat'"),
    ],
)
def test_soft_labels__what_is_wrong_is_named(image_folder, table, soft, change, message):
    rows = [row | {"label": one["label"]} for row, one in zip(soft, table, strict=True)] if "label" in change else soft
    rows[0] = rows[0] | change
    with pytest.raises(ValueError, match=message):
        _ = Manifest(path=write(image_folder / "m.csv", rows)).dataset


def test_soft_labels__columns_that_lack_a_class(image_folder, soft):
    alone = [{"path": row["path"], "p(cat)": 1} for row in soft]
    with pytest.raises(ValueError, match=r"the only column of probabilities is p\(cat\)"):
        _ = Manifest(path=write(image_folder / "m.csv", alone)).dataset
    never = [row | {"p(fox)": 0} for row in soft]
    with pytest.raises(ValueError, match=r"differ in 'fox': each class needs a column p\(CLASS\)"):
        _ = Manifest(path=write(image_folder / "m.csv", never)).dataset


def test_soft_labels__a_change_of_them_is_a_change_of_the_data(image_folder, soft, tmp_path):
    before = Manifest(path=write(image_folder / "m.csv", soft)).record
    before.write(tmp_path / "data.safetensors")
    assert DataRecord.read(tmp_path / "data.safetensors").digests == before.digests
    soft[3] |= {"p(dog)": soft[3]["p(eel)"], "p(eel)": soft[3]["p(dog)"]}
    now = Manifest(path=write(image_folder / "m.csv", soft))
    found = changes(before.plain(), tmp_path / "data.safetensors", now)
    assert found == [f"1 label distribution differs, first: {soft[3]['path']}"]
