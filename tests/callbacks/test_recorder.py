import csv
import json
from dataclasses import replace

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from safetensors.torch import load_file

from callbacks import RunRecorder
from datamodules import ImageFolder, Manifest
from datamodules.data_record import DataChangedError, DataRecord
from datamodules.provenance import Provenance
from lightning_modules import MLP
from lightning_modules.checkpoints import load_classifier
from measures.classification import classification_metrics
from records.damaged import DamagedFileError
from records.recorded import check_recorded
from records.result_files import read_predictions, says_the_same
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def recorder(folder, **options):
    return RunRecorder(folder / "result.json", folder / "predictions.safetensors", {}, {"run": "x"}, **options)


def fitted(tmp_path, **options):
    data = Blobs(count=90, val_fraction=0.3)
    model = MLP(data_info=data.info, hidden=[8], optimizer=lambda p: torch.optim.Adam(p, lr=0.05), schedule=None)
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/accuracy", mode="max", enable_version_counter=False)
    fitting = trainer(tmp_path, callbacks=[recorder(tmp_path), best], max_epochs=6, **options)
    fitting.fit(model, datamodule=data)
    return model, data


def read(tmp_path):
    return json.loads((tmp_path / "result.json").read_text())


def test_fit__the_result_is_the_best_checkpoints(tmp_path):
    _, data = fitted(tmp_path)
    result, predictions = read(tmp_path), load_file(tmp_path / "predictions.safetensors")
    model = load_classifier(tmp_path / "best.ckpt")
    val = data.splits["val"].subset(data.splits["val"].ids.argsort())
    with torch.no_grad():
        logits = model(val.source.gather(val.rows))
    assert torch.allclose(predictions["val/logits"], logits, atol=1e-5)
    assert torch.equal(predictions["val/id"], val.ids)
    expected = classification_metrics(predictions["val/logits"], predictions["val/label"])
    assert {name: result["val"][name] for name in expected} == expected
    assert result["fit"]["epochs"] == 6
    assert result["fit"]["seconds"] > 0
    assert result["fit"]["learning_rate"] == 0.05
    assert result["fingerprints"]["train"] == data.fingerprint("train")
    assert "test" not in result


def test_fit__the_data_is_recorded_sample_by_sample(tmp_path):
    data = Blobs(count=90, val_fraction=0.3)
    model = MLP(data_info=data.info, hidden=[8])
    recording = recorder(tmp_path, data=tmp_path / "data.safetensors")
    trainer(tmp_path, callbacks=[recording], max_epochs=1, fast_dev_run=True).fit(model, datamodule=data)
    assert not (tmp_path / "data.safetensors").exists()
    trainer(tmp_path, callbacks=[recording], max_epochs=1).fit(model, datamodule=data)
    record = DataRecord.read(tmp_path / "data.safetensors")
    assert record.digests == data.record.digests == read(tmp_path)["data_record"]["digests"]
    assert len(record.columns["id"]) == 90 + 46


def test_fit__a_job_that_is_queued_again_refuses_changed_data(tmp_path, monkeypatch):
    data = Blobs(count=30, val_fraction=0.3)
    fitting = trainer(tmp_path, callbacks=[recorder(tmp_path)], max_epochs=1)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    fitting.save_checkpoint(tmp_path / "hpc.ckpt")
    now = Blobs(count=30, val_fraction=0.3)
    monkeypatch.setitem(vars(now), "dataset", replace(data.dataset, class_names=["left", "right", "middle"]))
    again = trainer(tmp_path, callbacks=[recorder(tmp_path)], max_epochs=2)
    # the command line has not read what Lightning finds by itself
    with pytest.raises(DataChangedError, match=r"hpc\.ckpt was trained on data that has changed since: class names"):
        again.fit(MLP(data_info=data.info, hidden=[8]), datamodule=now, ckpt_path=tmp_path / "hpc.ckpt")


def test_test__labels_in_another_order_are_told(tmp_path):
    data = Blobs(count=90, val_fraction=0.3)
    model, _ = fitted(tmp_path)
    test = data.dataset.test
    shifted = replace(test, labels=(test.labels + 1) % 3)
    vars(data)["dataset"] = replace(data.dataset, test=shifted)
    with pytest.warns(match="it would be .* were classes renamed"):
        trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    (note,) = read(tmp_path)["evaluations"]["test"]["notes"]
    assert "is below the 0.33" in note
    assert "(left -> middle, middle -> right, right -> left)" in note


def test_test__unknown_images_are_recorded(tmp_path):
    model, data = fitted(tmp_path)
    assert "unknown_images" not in read(tmp_path)
    model.provenance = Provenance.of(unknown=["x.safetensors"])
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    assert read(tmp_path)["unknown_images"] == ["x.safetensors"]


def test_test__adds_to_the_result(tmp_path):
    model, data = fitted(tmp_path)
    before = read(tmp_path)
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    after = read(tmp_path)
    assert {name: after[name] for name in ("fit", "val")} == {name: before[name] for name in ("fit", "val")}
    predictions = load_file(tmp_path / "predictions.safetensors")
    assert {"val/logits", "test/logits"} <= set(predictions)
    assert (
        after["test"]["accuracy"]
        == classification_metrics(predictions["test/logits"], predictions["test/label"])["accuracy"]
    )
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["right"] == "yes" for row in rows) == pytest.approx(after["test"]["accuracy"] * len(rows))


def test_test__other_results_do_not_overwrite_earlier_ones(tmp_path):
    model, data = fitted(tmp_path)
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    first = read(tmp_path)
    torch.nn.init.zeros_(model.head.weight)
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    assert json.loads((tmp_path / "result.1.json").read_text()) == first
    assert (tmp_path / "predictions.1.safetensors").is_file()
    assert (tmp_path / "predictions.1.csv").read_bytes() != (tmp_path / "predictions.csv").read_bytes()
    assert read(tmp_path)["test"] != first["test"]


def test_test__again_in_other_batches_keeps_no_copy(tmp_path):
    model, data = fitted(tmp_path)
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    data.batch_size = 7
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    assert not (tmp_path / "result.1.json").exists()


@pytest.mark.parametrize("name", ["result.json", "predictions.safetensors"])
@pytest.mark.parametrize("flipped", [False, True])
def test_test__a_damaged_file_is_put_aside_with_a_word(tmp_path, name, flipped):
    model, data = fitted(tmp_path)
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    whole = read(tmp_path)["test"]
    path = tmp_path / name
    content = bytearray(path.read_bytes())
    # within a number of the result, or among the logits
    content[-200 if name == "result.json" else -3] ^= 1
    broken = bytes(content) if flipped else bytes(content[: len(content) // 2])
    path.write_bytes(broken)
    copy = path.with_suffix(f".1{path.suffix}")
    with pytest.warns(UserWarning, match=f"{name} is damaged .*It is put aside as {copy}, and written anew"):
        trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    assert copy.read_bytes() == broken
    assert read(tmp_path)["test"] == whole
    assert "test/logits" in read_predictions(tmp_path / "predictions.safetensors")


def test_fit__its_result_says_what_config_and_metrics_were(tmp_path):
    (tmp_path / "config.yaml").write_text("lr: 0.1\n")
    fitted(tmp_path)
    check_recorded(tmp_path / "config.yaml", read(tmp_path), "")
    (tmp_path / "config.yaml").write_text("lr: 0.3\n")
    with pytest.raises(DamagedFileError, match="config.yaml is damaged"):
        check_recorded(tmp_path / "config.yaml", read(tmp_path), "")


def test_test__other_data_with_the_same_metrics_keeps_a_copy(tmp_path):
    model, data = fitted(tmp_path)
    torch.nn.init.zeros_(model.head.weight)
    torch.nn.init.zeros_(model.head.bias)
    splits, metrics = data.splits, []
    # the first class is always predicted
    (first,) = (splits["test"].labels == 0).nonzero(as_tuple=True)
    for count, copies in ((5, 0), (5, 0), (4, 1)):
        data.splits = splits | {"test": splits["test"].subset(first[:count])}
        trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
        metrics.append(read(tmp_path)["test"])
        assert len(list(tmp_path.glob("predictions.*.safetensors"))) == copies
    assert says_the_same(metrics[0], metrics[2])


def test_rehearsal__leaves_nothing_behind(tmp_path):
    data = Blobs()
    fitting = trainer(tmp_path, callbacks=[recorder(tmp_path)], fast_dev_run=True)
    fitting.fit(MLP(data_info=data.info, hidden=[8]), datamodule=data)
    assert not list(tmp_path.glob("*.json"))


def test_predictions__name_the_groups_of_their_samples(tmp_path, image_folder):
    images = sorted(image_folder.glob("*/*/*.png"))
    lines = ["path,label,split,group"]
    for number, path in enumerate(images):
        # training samples have groups too, so that the numbers of the test's groups do not start at 0
        lines.append(f"{path.relative_to(image_folder)},{path.parent.name},{path.parts[-3]},g{number // 2 * 7 % 29}")
    (image_folder / "m.csv").write_text("\n".join(lines))
    data = Manifest(path=str(image_folder / "m.csv"), batch_size=16, val_fraction=0.2)
    model = MLP(data_info=data.info, hidden=[8])
    trainer(tmp_path, callbacks=[recorder(tmp_path)], max_epochs=1).fit(model, datamodule=data)
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    found = load_file(tmp_path / "predictions.safetensors")
    for split in ("val", "test"):
        samples = data.splits[split]
        expected = dict(zip(samples.ids.tolist(), samples.groups.tolist(), strict=True))
        assert dict(zip(found[f"{split}/id"].tolist(), found[f"{split}/group"].tolist(), strict=True)) == expected


def test_resume__test_results_of_replaced_weights_are_put_aside(tmp_path):
    model, data = fitted(tmp_path)
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    tested, predicted = read(tmp_path), (tmp_path / "predictions.safetensors").read_bytes()
    # another fit in this folder, with a best epoch of its own
    fitted(tmp_path)
    assert "test" not in read(tmp_path)
    assert "test/logits" not in load_file(tmp_path / "predictions.safetensors")
    assert json.loads((tmp_path / "result.1.json").read_text()) == tested
    assert (tmp_path / "predictions.1.safetensors").read_bytes() == predicted


def test_evaluation__says_what_was_tested(tmp_path):
    model, data = fitted(tmp_path)
    testing = trainer(tmp_path, callbacks=[recorder(tmp_path)], limit_test_batches=1)
    testing.test(model, datamodule=data, verbose=False)
    assert read(tmp_path)["evaluations"]["test"]["samples"] == 16
    assert read(tmp_path)["evaluations"]["test"]["fitted_on"] == 0
    assert read(tmp_path)["evaluations"]["test"]["fingerprint"] == data.fingerprint("test")


def test_evaluation__counts_test_samples_that_the_model_was_fitted_on(tmp_path):
    _, data = fitted(tmp_path)
    checkpoint = tmp_path / "best.ckpt"
    data.splits["test"] = data.splits["train"].subset(torch.arange(20))
    again = load_classifier(checkpoint)
    with pytest.warns(UserWarning, match="fitted on copies of 20 of the 20 test samples"):
        trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(again, datamodule=data, verbose=False)
    assert read(tmp_path)["evaluations"]["test"]["fitted_on"] == 20


def test_test__each_source_apart(tmp_path, image_folder):
    images = sorted(image_folder.glob("*/*/*.png"))
    rows = [
        (p.relative_to(image_folder), p.parent.name, p.parent.parent.name, "ab"[n % 2]) for n, p in enumerate(images)
    ]
    lines = ["path,label,split,source", *(",".join(map(str, row)) for row in rows)]
    (image_folder / "m.csv").write_text("\n".join(lines))
    data = Manifest(path=str(image_folder / "m.csv"), batch_size=16)
    model = MLP(data_info=data.info, hidden=[8])
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    result, predictions = read(tmp_path), load_file(tmp_path / "predictions.safetensors")
    assert result["source_names"] == ["a", "b"]
    assert {name: values["samples"] for name, values in result["test_by_source"].items()} == {"a": 18, "b": 18}
    correct = (predictions["test/logits"].argmax(1) == predictions["test/label"]).float()
    for number, name in enumerate("ab"):
        members = predictions["test/source"] == number
        assert result["test_by_source"][name]["accuracy"] == pytest.approx(float(correct[members].mean()))
    assert set(result["test_source_pairs"]) == {"cat", "dog", "eel"}
    for name in ("test_source_pairs", "test_source_pairs_f1", "test_source_pairs_accuracy"):
        assert set(result[name]["dog"]["a"]) == {"a", "b"}


def test_result__lists_what_could_not_be_read(tmp_path, image_folder):
    (image_folder / "test/cat/000.png").write_bytes(b"")
    data = ImageFolder(root=str(image_folder), on_unreadable="skip")
    with pytest.warns(UserWarning, match="1 of 72 files are left out"):
        model = MLP(data_info=data.info, hidden=[8])
    trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
    (line,) = read(tmp_path)["skipped_files"]
    assert "test/cat/000.png cannot be read" in line


def test_test__results_by_source_of_other_data_do_not_stay(tmp_path, image_folder):
    rows = [f"{p.relative_to(image_folder)},{p.parent.name},{p.parent.parent.name}" for p in image_folder.glob("*/*/*")]
    tables = {"with": ("path,label,split,source", ",a"), "without": ("path,label,split", "")}
    for name, (header, source) in tables.items():
        (image_folder / f"{name}.csv").write_text("\n".join([header, *(row + source for row in rows)]))
        data = Manifest(path=str(image_folder / f"{name}.csv"))
        model = MLP(data_info=data.info, hidden=[8])
        trainer(tmp_path, callbacks=[recorder(tmp_path)]).test(model, datamodule=data, verbose=False)
        result = read(tmp_path)
        assert ("test_by_source" in result) == (name == "with")
        assert ("source_names" in result["evaluations"]["test"]) == (name == "with")
