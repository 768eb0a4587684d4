import csv
from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules import Manifest
from datamodules.prediction_table import PredictionTable
from lightning_modules import MLP
from records.csv_files import read_rows
from tests.helpers.data import Blobs, write_image_folder
from tests.helpers.training import trainer


def read(path):
    with path.open(newline="") as file:
        header, *rows = read_rows(file)
    return [dict(zip(header, row, strict=True)) for row in rows]


@pytest.fixture
def manifest(tmp_path):
    """Two sources; groups of two images, and two images without a group."""
    write_image_folder(tmp_path, per_class=4)
    lines = ["path,label,split,source,group"]
    for split in ("train", "test"):
        for number in range(12):
            name = f"{split}/{('cat', 'dog', 'eel')[number % 3]}/{number:03d}.png"
            label = "=sum" if number % 3 == 0 else name.split("/")[1]
            group = f"{split} patient {number // 2}" if number < 10 else ""
            lines.append(f"{name},{label},{split},{'north' if number < 6 else 'south'},{group}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines))
    return Manifest(path=str(tmp_path / "manifest.csv"), val_fraction=0)


def test_table__leads_from_a_mistake_to_its_file(manifest, tmp_path):
    samples = manifest.samples("test")
    logits = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
    # as predictions are: sorted by id
    order = samples.ids.argsort()
    table = PredictionTable(samples, samples.ids[order], logits[order], manifest.dataset.class_names)
    table.of(manifest.dataset).write(tmp_path / "predictions.csv")
    rows = read(tmp_path / "predictions.csv")
    assert [row["name"] for row in rows] == samples.sample_names()
    probabilities = logits.double().softmax(1).numpy()
    names = manifest.dataset.class_names
    for row, name, label, expected in zip(rows, samples.sample_names(), samples.labels, probabilities, strict=True):
        assert (tmp_path / row["name"]).is_file()
        assert row["true_class"] == names[label]
        assert row["class"] == names[expected.argmax()]
        assert row["right"] == ("yes" if row["class"] == row["true_class"] else "no")
        assert [float(row[f"p({each})"]) for each in names] == pytest.approx(expected, abs=1e-6)
        number = int(name[-7:-4])
        assert row["source"] == ("north" if number < 6 else "south")
        assert row["group"] == (f"test patient {number // 2}" if number < 10 else "")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert not [cell for row in csv.reader(file) for cell in row if cell.startswith("=")]


def test_table__accepted_and_a_part_of_the_data(tmp_path):
    samples = Blobs().samples("test")
    kept = torch.tensor([4, 1])
    table = PredictionTable(samples, samples.ids[kept], torch.eye(3)[:2], "abc", accepted=torch.tensor([True, False]))
    columns = table.columns()
    assert columns["name"] == ["test/1", "test/4"]
    assert columns["accepted"] == ["no", "yes"]
    assert "source" not in columns
    assert "group" not in columns


def test_table__of_images_without_labels():
    samples = Blobs().samples("test")
    samples = replace(samples, labels=torch.full((len(samples),), -1))
    unlabelled = PredictionTable(samples, samples.ids, torch.zeros(31, 3), "abc")
    assert not {"true_class", "right"} & unlabelled.columns().keys()


def test_table__of_very_many_classes_has_no_column_for_each(monkeypatch):
    monkeypatch.setattr("datamodules.prediction_table.MOST_PROBABILITIES", 92)
    samples = Blobs().samples("test")
    columns = PredictionTable(samples, samples.ids, torch.zeros(31, 3), "abc").columns()
    assert not [name for name in columns if name.startswith("p(")]
    assert len(columns["probability"]) == 31


def test_table__of_a_model_that_was_tested(manifest, tmp_path):
    model = MLP(data_info=manifest.info, hidden=[8])
    trainer(tmp_path).test(model, datamodule=manifest, verbose=False)
    columns = model.prediction_table(manifest, "test").columns()
    right = np.mean([word == "yes" for word in columns["right"]])
    assert right == pytest.approx(model.metrics["accuracy"])
    assert set(columns["source"]) == {"north", "south"}
