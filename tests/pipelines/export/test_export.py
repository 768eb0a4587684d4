"""A trained model as a file for another runtime."""

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

import francesinha
from pipelines.export import command, measures, onnx_files
from pipelines.export.graph import Probabilities
from pipelines.export.options import FILES, FORMATS
from records.versions import REPOSITORY
from tests.helpers.cli import run
from tests.helpers.data import write_image_folder

QUICK = ("--latency", "false")
# .tflite files are written in an environment of their own
HERE = [kind for kind in FORMATS if not kind.startswith("litert")]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("export") / "images", size=16)


@pytest.fixture(scope="module")
def folder(images):
    """A network that resizes, so that this is in the graph too."""
    data = ("--data", "ImageFolder", "--data.root", images, "--data.batch_size", "8", "--trainer.max_epochs", "3")
    model = ("--model", "SmallCNN", "--model.input_size", "20")
    assert run("fit", *data, *model, root=images.parent / "runs") == 0
    return images.parent / "runs/image_folder/small_cnn"


@pytest.fixture(scope="module")
def exported(folder):
    formats = json.dumps(HERE)
    assert command.main(["--ckpt_path", str(folder), "--format", formats, "--max_drop", "100"]) == 0
    return folder / "export"


def export(folder, out, *options):
    return run("export", "--ckpt_path", folder, "--out", out, *QUICK, *options, quick=False)


def test_export__agrees_with_torch(exported, folder):
    card = json.loads((exported / "export.json").read_text())
    assert set(card["formats"]) == set(HERE)
    assert card["images"] == "real"
    for kind, row in card["formats"].items():
        assert row["file"] == FILES[kind]
        assert row["bytes"] == (exported / FILES[kind]).stat().st_size
        assert row["images"] == 10
        assert {"ms_1", "ms_1_p95", "ms_32", "ms_32_p95", "test_accuracy", "compressed_bytes"} <= set(row)
        if kind != "onnx-int8":
            assert row["largest_difference"] < 1e-5
            assert row["top1_agreement"] == 1
            assert row["test_accuracy"] == card["torch"]["test_accuracy"]
    assert card["formats"]["onnx-int8"]["bytes"] < card["formats"]["onnx"]["bytes"]
    # a best.ckpt holds what training needs too
    assert card["formats"]["safetensors"]["bytes"] < (folder / "checkpoints/best.ckpt").stat().st_size / 2
    text = (exported / "card.md").read_text()
    assert all(f"| {kind} | {FILES[kind]} |" in text for kind in HERE)
    assert "cat, dog, eel" in text


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_export__onnx_takes_any_batch_and_says_what_it_is(batch, exported, folder):
    session = onnxruntime.InferenceSession(str(exported / "model.onnx"), providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(batch).integers(0, 256, (batch, 16, 16, 3), dtype=np.uint8)
    (found,) = session.run(None, {"image": pictures.transpose(0, 3, 1, 2)})
    assert np.abs(found - francesinha.load(folder, device="cpu").predict_proba(pictures)).max() < 1e-5
    facts = onnx_files.read_facts(exported / "model.onnx")
    assert facts["francesinha.classes"] == ["cat", "dog", "eel"]
    assert facts["francesinha.input"]["shape"] == ["batch", 3, 16, 16]


def test_export__the_example_needs_nothing_of_the_project(exported, images, folder, monkeypatch, capsys, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(photo)
    monkeypatch.setattr(sys, "argv", ["predict_with_onnx.py", str(exported / "model.onnx"), str(photo)])
    runpy.run_path(str(REPOSITORY / "examples/predict_with_onnx.py"), run_name="__main__")
    name, label, probability = capsys.readouterr().out.split("\t")
    predictor = francesinha.load(folder, device="cpu")
    assert (name, label) == (str(photo), predictor.predict(photo)[0])
    assert float(probability) == pytest.approx(predictor.predict_proba(photo).max(), abs=1e-4)


@pytest.mark.parametrize("kind", HERE)
def test_verify__a_changed_file_is_refused(kind, exported, tmp_path, capsys):
    for path in exported.iterdir():
        shutil.copy(path, tmp_path)
    file = tmp_path / FILES[kind]
    assert run("export", "--verify", file, quick=False) == 0
    assert "its checksum is that of the card" in capsys.readouterr().out
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert run("export", "--verify", file, quick=False) == 2
    assert f"{file} is not the file that was exported" in capsys.readouterr().err


def test_verify__needs_a_card_that_knows_the_file(exported, tmp_path, capsys):
    shutil.copy(exported / "model.onnx", tmp_path / "other.onnx")
    assert run("export", "--verify", tmp_path / "other.onnx", quick=False) == 2
    assert "export.json does not exist" in capsys.readouterr().err
    shutil.copy(exported / "export.json", tmp_path)
    assert run("export", "--verify", tmp_path / "other.onnx", quick=False) == 2
    assert "does not know other.onnx, but model.onnx" in capsys.readouterr().err
    assert run("export", "--verify", tmp_path / "none.onnx", quick=False) == 2
    assert "none.onnx does not exist" in capsys.readouterr().err


def test_int8__that_loses_too_much_is_refused(folder, tmp_path, monkeypatch, capsys):
    found = iter([0.9, 0.85])
    monkeypatch.setattr(measures, "accuracy", lambda run, samples: next(found))
    assert export(folder, tmp_path, "--format", "onnx-int8", "--accuracy", "false") == 2
    told = capsys.readouterr().err
    assert "onnx-int8 is refused: its accuracy on val is 0.8500, 5.0 points below 0.9000" in told
    assert "--max_drop 5.1" in told
    assert not (tmp_path / "model_int8.onnx").exists()


def test_export__again_replaces_its_own_file_and_keeps_others(folder, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"somebody else's")
    for _ in range(2):
        assert export(folder, tmp_path, "--format", "safetensors", "--accuracy", "false") == 0
    assert export(folder, tmp_path, "--format", "onnx", "--accuracy", "false") == 0
    assert (tmp_path / "model.1.safetensors").read_bytes() == b"somebody else's"
    assert {path.name for path in tmp_path.iterdir()} == {
        "card.md",
        "example.safetensors",
        "export.json",
        "model.1.safetensors",
        "model.json",
        "model.onnx",
        "model.safetensors",
    }
    card = json.loads((tmp_path / "export.json").read_text())
    assert set(card["formats"]) == {"safetensors", "onnx"}


def test_card__forgets_a_file_that_is_gone(folder, tmp_path):
    assert export(folder, tmp_path, "--format", "safetensors", "--accuracy", "false") == 0
    (tmp_path / "model.safetensors").unlink()
    assert export(folder, tmp_path, "--format", "checkpoint", "--accuracy", "false") == 0
    assert set(json.loads((tmp_path / "export.json").read_text())["formats"]) == {"checkpoint"}


def test_share__opens_elsewhere_and_still_knows_what_it_was_fitted_on(folder, tmp_path, monkeypatch, capsys):
    options = ("--format", "checkpoint", "--accuracy", "false", "--license", "CC0", "--share", "true")
    assert export(folder, tmp_path / "mine", *options) == 0
    assert f"to share: {tmp_path / 'mine.zip'}" in capsys.readouterr().out
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    shutil.unpack_archive(tmp_path / "mine.zip", ".")
    shutil.rmtree(tmp_path / "mine")
    assert "license of the weights: CC0" in Path("mine/card.md").read_text()
    assert run("export", "--verify", "mine/model.ckpt", quick=False) == 0
    whole, shared = (francesinha.load(path, device="cpu") for path in (folder, "mine/model.ckpt"))
    photo = np.random.default_rng(4).integers(0, 256, (1, 16, 16, 3), dtype=np.uint8)
    assert np.array_equal(whole.logits(photo), shared.logits(photo))
    assert torch.equal(whole.model.provenance.fitted, shared.model.provenance.fitted)
    size = (folder / "checkpoints/best.ckpt").stat().st_size
    assert Path("mine/model.ckpt").stat().st_size < 0.6 * size


def test_export__without_the_data(folder, images, tmp_path, monkeypatch, capsys):
    shutil.copy(folder / "checkpoints/best.ckpt", tmp_path / "received.ckpt")
    monkeypatch.chdir(tmp_path)
    away = images.with_name("away")
    images.rename(away)
    try:
        assert export(tmp_path / "received.ckpt", tmp_path / "out", "--format", "safetensors") == 0
        assert "no accuracy was measured" in capsys.readouterr().out
        assert json.loads((tmp_path / "out/export.json").read_text())["images"] == "noise"
        assert export(tmp_path / "received.ckpt", tmp_path / "out", "--format", "onnx-int8") == 2
        assert "onnx-int8 needs training images" in capsys.readouterr().err
    finally:
        away.rename(images)


def test_export__an_operation_that_onnx_does_not_know_is_named(tmp_path, monkeypatch):
    class Odd(torch.nn.Module):
        def forward(self, image):
            return torch.linalg.eigvals(image.float().mean(1)).abs()

    with pytest.raises(ValueError, match="Odd cannot be exported to ONNX"):
        onnx_files.write_onnx(Probabilities(Odd()), torch.zeros(2, 3, 4, 4, dtype=torch.uint8), tmp_path / "x.onnx", {})
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "export needs --ckpt_path"),
        (("--ckpt_path", "a", "--verify", "b"), "and not both"),
        (("--ckpt_path", "nowhere"), "nowhere"),
        (("--ckpt_path", "a", "--format", "tflite"), "litert-int8"),
        (("--ckpt_path", "a", "--format", "[]"), "--format must name one of onnx"),
        (("--ckpt_path", "a", "--max_drop", "-1"), "--max_drop"),
        (("--ckpt_path", "a", "--formats", "onnx"), "unknown option '--formats'; did you mean --format"),
    ],
)
def test_options__are_refused_in_a_line(options, message, capsys):
    assert run("export", *options, quick=False) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") <= 2


def test_extra__is_named_where_it_is_missing(monkeypatch, capsys):
    monkeypatch.setattr(onnx_files, "find_spec", lambda name: None if name == "onnxscript" else object())
    assert run("export", "--ckpt_path", "a", quick=False) == 2
    assert "pip install 'francesinha[onnx]' (onnxscript is missing)" in capsys.readouterr().err
