import csv
from dataclasses import replace

import torch

from lightning_modules import MLP
from measures.conformal import calibrate
from measures.set_options import SetOptions
from pipelines.cli.predicted import PredictedSets, write_predicted
from records.csv_files import read_rows
from records.run_dir import RunDir
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def test_write_predicted__names_classes_and_keeps_earlier_tables(tmp_path):
    data = Blobs()
    model = MLP(data_info=data.info, hidden=[8])
    trainer(tmp_path).predict(model, datamodule=data)
    path = write_predicted(RunDir(tmp_path), model.prediction_table(data, "predict"))
    lines = (tmp_path / "predicted.csv").read_text().splitlines()
    label, probability = lines[1].split(",")[1:3]
    samples = data.samples("predict")
    # rows are in the data's order
    assert [line.split(",")[0] for line in lines[1:]] == samples.sample_names()
    (row,) = (model.predictions["id"].cpu() == samples.ids[0]).nonzero()[0].tolist()
    first = model.predictions["logits"][row].double().softmax(0)
    assert label == ["left", "middle", "right"][int(first.argmax())]
    assert abs(float(probability) - float(first.max())) < 1e-6
    assert len(lines) == 32
    torch.nn.init.zeros_(model.head.weight)
    write_predicted(RunDir(tmp_path), model.prediction_table(data, "predict"))
    assert (tmp_path / "predicted.1.csv").read_text().splitlines() == lines
    assert path.endswith("predicted.csv")


def test_write_predicted__a_name_that_is_not_utf8(tmp_path):
    data = Blobs()
    samples = data.samples("predict")
    samples = replace(samples, names=[f"caf\udce9 {name}" for name in samples.names])
    model = MLP(data_info=data.info, hidden=[8])
    trainer(tmp_path).predict(model, datamodule=data)
    write_predicted(RunDir(tmp_path), replace(model.prediction_table(data, "predict"), samples=samples))
    assert (tmp_path / "predicted.csv").read_bytes().count(b"caf\xe9 ") == 31


def test_write_predicted__names_that_a_spreadsheet_would_run(tmp_path):
    data = Blobs()
    starts = ["=", "+", "-", "@", "\t", "\r", "a;="]
    samples = data.samples("predict")
    samples = replace(samples, names=[f"{starts[number % 7]}{name}" for number, name in enumerate(samples.names)])
    info = replace(data.info, class_names=["=left", "-middle", "@right"])
    model = MLP(data_info=info, hidden=[8])
    trainer(tmp_path).predict(model, datamodule=data)
    write_predicted(RunDir(tmp_path), replace(model.prediction_table(data, "predict"), samples=samples))
    with (tmp_path / "predicted.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r"))]
    with (tmp_path / "predicted.csv").open(newline="") as file:
        found = list(read_rows(file))[1:]
    assert [row[0] for row in found] == samples.sample_names()
    assert {row[1] for row in found} <= set(info.class_names)


def test_predicted_sets__names_of_any_kind(tmp_path):
    """A bar in a name is no end of the name, and no set begins as a formula."""
    data = Blobs()
    info = replace(data.info, class_names=["=left", "a|b", "back\\slash"])
    model = MLP(data_info=info, hidden=[8])
    model.predictions = {
        "id": data.samples("predict").ids[:3],
        "logits": torch.tensor([[1.2, 1.0, 0.5], [0.0, 5.0, 4.9], [9.0, 0.0, 0.0]]),
    }
    assert PredictedSets.of(model).texts is None
    model.calibration = calibrate(torch.eye(3)[[0, 1, 2] * 20], torch.tensor([0, 1, 0] * 20), "val")
    model.set_options = SetOptions(0.6)
    sets = PredictedSets.of(model)
    assert sets.texts == ["=left", "a\\|b", "=left"]
    model.set_options = SetOptions(0.9, penalty=0.0)
    sets = PredictedSets.of(model)
    assert sets.texts == ["=left | a\\|b", "a\\|b | back\\\\slash", "=left"]
    write_predicted(RunDir(tmp_path), model.prediction_table(data, "predict", sets.texts))
    assert ",=left" not in (tmp_path / "predicted.csv").read_text()
    with (tmp_path / "predicted.csv").open(newline="") as file:
        assert [row[3] for row in read_rows(file)] == ["set", *sets.texts]
