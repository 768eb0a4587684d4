"""A model as a .tflite; what needs litert-torch runs in the environment of `make litert`."""

import json
import runpy
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import francesinha
from lightning_modules import SmallCNN
from pipelines.export import litert_files
from pipelines.export.graph import frozen
from pipelines.export.litert_files import exportable, probabilities, resizing, write_header
from records.versions import REPOSITORY
from tests.helpers.cli import run
from tests.helpers.data import data_info, random_images, write_image_folder

litert = pytest.mark.skipif(find_spec("litert_torch") is None, reason="needs the environment of make litert")
END = {"name": "x", "dtype": "int8", "shape": [1, 10], "scale": 0.5, "zero_point": -3}


@pytest.mark.parametrize(("before", "after"), [(32, 20), (8, 32), (7, 7), (1, 4)])
def test_resizing__is_that_of_torch(before, after):
    images = random_images(2, 3, before).float()
    expected = nn.functional.interpolate(images, (after, after), mode="bilinear", antialias=True)
    matrix = resizing(before, after)
    assert torch.allclose(matrix @ images @ matrix.T, expected, atol=1e-3)


def test_exportable__gives_the_same_and_leaves_the_model_as_it_is():
    module = frozen(SmallCNN(data_info=data_info(), input_size=20).eval())
    names = set(module.state_dict())
    images = random_images(3)
    assert torch.allclose(exportable(module)(images), module(images), atol=1e-5)
    assert set(module.state_dict()) == names


def test_check_installed__says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setattr(litert_files, "find_spec", lambda name: None)
    assert run("export", "--ckpt_path", "a", "--format", "litert", quick=False) == 2
    told = capsys.readouterr().err
    assert "make litert, and then .venv-litert/bin/python train.py export" in told
    assert told.count("\n") == 1


def test_probabilities__of_a_quantised_output():
    class Fake:
        def get_input_details(self):
            return [{"index": 0}]

        def get_output_details(self):
            return [{"index": 1, "quantization": (0.25, -4)}]

        def set_tensor(self, index, image):
            assert (index, image.shape) == (0, (1, 3, 2, 2))

        def invoke(self):
            pass

        def get_tensor(self, index):
            return np.array([[-4, 0]], dtype=np.int8)

    assert probabilities(Fake(), np.zeros((3, 3, 2, 2), np.uint8)).tolist() == [[0, 1]] * 3


def test_header__is_the_file_and_compiles(tmp_path):
    source, header = tmp_path / "model_int8.tflite", tmp_path / "model_int8.h"
    source.write_bytes(bytes(range(40)))
    write_header(source, header, {"input": END, "output": END, "tensor_bytes": 123})
    text = header.read_text()
    assert "value 0.5 * (q - -3)" in text
    assert "#define MODEL_INT8_TFLITE_TENSOR_BYTES 123" in text
    numbers = text.partition("{")[2].partition("}")[0].replace("\n", " ").split(",")
    assert bytes(int(number, 16) for number in numbers if number.strip()) == source.read_bytes()
    if compiler := shutil.which("cc"):
        program = (
            '#include "model_int8.h"\nint main(void) { return model_int8_tflite[3] - 3 + model_int8_tflite_len - 40; }'
        )
        (tmp_path / "main.c").write_text(program)
        subprocess.run([compiler, "-std=c11", "-o", "main", "main.c"], cwd=tmp_path, check=True)
        subprocess.run([tmp_path / "main"], check=True)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A network that resizes, as .tflite files in both precisions."""
    root = tmp_path_factory.mktemp("litert")
    images = write_image_folder(root / "images", size=16)
    data = ("--data", "ImageFolder", "--data.root", images, "--data.batch_size", "8", "--trainer.max_epochs", "3")
    assert run("fit", *data, "--model", "SmallCNN", "--model.input_size", "20", root=root / "runs") == 0
    folder = root / "runs/image_folder/small_cnn"
    options = ("--format", '["litert", "litert-int8"]', "--max_drop", "100", "--c_header", "true")
    assert run("export", "--ckpt_path", folder, *options, quick=False) == 0
    return folder / "export"


@litert
def test_litert__agrees_with_torch(exported):
    card = json.loads((exported / "export.json").read_text())
    whole, small = (card["formats"][kind] for kind in ("litert", "litert-int8"))
    assert whole["largest_difference"] < 1e-5
    assert whole["test_accuracy"] == card["torch"]["test_accuracy"]
    assert small["largest_difference"] < 0.2
    assert small["bytes"] < whole["bytes"] / 2
    assert small["litert"]["input"]["shape"] == [1, 3, 16, 16]
    assert small["litert"]["output"]["dtype"] == "int8"
    assert small["litert"]["output"]["scale"] > 0
    assert 3 * 16 * 16 < small["litert"]["tensor_bytes"] < whole["litert"]["tensor_bytes"]
    assert {"ms_1", "ms_32_p95"} <= set(small)
    assert "model_int8.tflite: input uint8, shape (1, 3, 16, 16); output int8" in (exported / "card.md").read_text()
    assert f"_len = {small['bytes']};" in (exported / "model_int8.h").read_text()
    for file in ("model.tflite", "model_int8.tflite"):
        assert run("export", "--verify", exported / file, quick=False) == 0


@litert
def test_litert__the_example_needs_nothing_of_the_project(exported, monkeypatch, capsys, tmp_path):
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(photo)
    monkeypatch.setattr(sys, "argv", ["predict_with_litert.py", str(exported / "model.tflite"), str(photo)])
    runpy.run_path(str(REPOSITORY / "examples/predict_with_litert.py"), run_name="__main__")
    name, label, probability = capsys.readouterr().out.split("\t")
    predictor = francesinha.load(exported.parent, device="cpu")
    assert (name, label) == (str(photo), predictor.predict(photo)[0])
    assert float(probability) == pytest.approx(predictor.predict_proba(photo).max(), abs=1e-4)


@litert
def test_litert__an_operation_that_it_does_not_know_is_named(tmp_path):
    class Odd(nn.Module):
        def forward(self, images):
            return torch.linalg.eigvals(images.float().mean(1)).abs()

    module = frozen(SmallCNN(data_info=data_info()))
    module.model.forward = Odd().forward
    with pytest.raises(ValueError, match=r"SmallCNN cannot be exported to LiteRT \(.*\): use --format onnx"):
        litert_files.write_litert(module, random_images(2), tmp_path / "x.tflite")
    assert not (tmp_path / "x.tflite").exists()


def test_single_precision__is_for_the_export_alone():
    with litert_files.single_precision():
        assert torch.zeros(1).double().dtype is torch.float32
    assert torch.zeros(1).double().dtype is torch.float64
