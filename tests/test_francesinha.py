"""The project from Python, as a notebook uses it."""

import csv
import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibrationDisplay
from sklearn.metrics import ConfusionMatrixDisplay, get_scorer
from sklearn.utils.validation import check_is_fitted

import francesinha
from pipelines.cells.job import CellFiles
from pipelines.python.commands import words_of
from pipelines.stack.command import parse
from pipelines.stack.plan_check import check
from tests.helpers.cli import run
from tests.helpers.data import write_image_folder
from tests.helpers.second_stage import train

QUICK = {
    "trainer.max_epochs": 2,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": False,
    "model_summary.max_depth": -1,
}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("python") / "images", size=16)


@pytest.fixture(scope="module")
def folder(images):
    data = {"data": "ImageFolder", "data.root": images, "data.batch_size": 8}
    return francesinha.fit({"model": "SmallCNN", "run.root": images.parent / "runs", **data, **QUICK})


@pytest.fixture(scope="module")
def predictor(folder):
    return francesinha.load(folder, device="cpu", batch_size=5)


@pytest.fixture(scope="module")
def photos(images):
    """Files of other sizes and kinds than those of the training."""
    place, noise = images.parent / "photos", np.random.default_rng(0)
    place.mkdir()
    for name, mode, size in (("a.png", "RGB", (30, 40)), ("b.png", "RGBA", (16, 16)), ("c.png", "L", (9, 50))):
        channels = {"RGB": 3, "RGBA": 4, "L": 1}[mode]
        values = noise.integers(0, 256, (*size, channels), dtype=np.uint8)
        Image.fromarray(values.squeeze()).save(place / name)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise.integers(0, 256, (20, 33, 3), dtype=np.uint8)).save(place / "d.jpg", exif=exif)
    return sorted(place.iterdir())


def test_load__takes_a_run_and_a_checkpoint(folder, predictor, photos):
    best = francesinha.load(folder / "checkpoints/best.ckpt", device="cpu")
    assert np.array_equal(best.predict(photos), predictor.predict(photos))
    with pytest.raises(FileNotFoundError, match="holds no checkpoint: name a run's folder"):
        francesinha.load(folder.parent)
    with pytest.raises(FileNotFoundError, match=r"nothing\.ckpt"):
        francesinha.load(folder / "nothing.ckpt")
    with pytest.raises(ValueError, match="device 'gpu' cannot be used here"):
        francesinha.load(folder, device="gpu")


def test_load__executes_no_pickle(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    with (tmp_path / "hostile.ckpt").open("wb") as file:
        pickle.dump(Payload(), file)
    torch.save({"state_dict": Payload()}, tmp_path / "zip.ckpt")
    for name in ("hostile.ckpt", "zip.ckpt"):
        with pytest.raises(ValueError, match=name):
            francesinha.load(tmp_path / name)
    assert not (tmp_path / "executed").exists()


def test_predict_proba__is_what_the_command_line_predicts(folder, predictor, photos):
    assert run("predict", "--ckpt_path", folder, "--data.predict_root", photos[0].parent) == 0
    with (folder / "predicted.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = np.array([[float(row[f"p({name})"]) for name in predictor.classes_] for row in rows])
    assert [row["class"] for row in rows] == predictor.predict(photos).tolist()
    assert np.abs(predictor.predict_proba(photos) - table).max() < 1e-6


def test_predict_proba__takes_every_form_of_images(predictor, photos):
    expected = predictor.predict_proba(photos)
    forms = {
        "texts": [str(path) for path in photos],
        "array of texts": np.array([str(path) for path in photos]),
        "Pillow": [Image.open(path) for path in photos],
        "mixed": [photos[0], Image.open(photos[1]), *photos[2:]],
    }
    for form, images in forms.items():
        assert np.allclose(predictor.predict_proba(images), expected, atol=1e-6), form
    first = np.array(Image.open(photos[0]))
    for image in (
        first[None],
        [first],
        torch.from_numpy(first).permute(2, 0, 1)[None],
        photos[0],
        Image.open(photos[0]),
    ):
        assert np.allclose(predictor.predict_proba(image), expected[:1], atol=1e-6)
    grey = np.array(Image.open(photos[2]))
    for image in ([grey], grey[None, :, :, None], torch.from_numpy(grey)[None, None]):
        assert np.allclose(predictor.predict_proba(image), expected[2:3], atol=1e-6)


def test_predict_proba__of_the_size_of_the_data(predictor):
    images = np.random.default_rng(1).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    each = np.concatenate([predictor.predict_proba(image[None]) for image in images])
    assert np.allclose(predictor.predict_proba(images), each, atol=1e-6)
    assert np.allclose(predictor.predict_proba(torch.from_numpy(images).permute(0, 3, 1, 2)), each, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "must not be empty"),
        (np.zeros((0, 16, 16, 3), np.uint8), "must not be empty"),
        (np.zeros((16, 16, 3), np.uint8), r"images\[None\] for a single one"),
        (torch.zeros(3, 16, 16, dtype=torch.uint8), r"images\[None\] for a single one"),
        (np.zeros((2, 16, 16, 5), np.uint8), "1, 3 or 4 channels"),
        (np.zeros((2, 16, 16, 3)), r"pass uint8 from 0 to 255, such as \(images \* 255\)"),
        (np.full((1, 16, 16, 3), np.nan), "image 0 holds NaN or infinity"),
        (torch.zeros(1, 3, 16, 16), "pass uint8"),
        ([np.zeros((16, 0, 3), np.uint8)], "1, 3 or 4 channels"),
        ([3], "not a sequence of int"),
        (3, "images must be paths, Pillow images"),
        (["nowhere.png"], r"nowhere\.png"),
    ],
)
def test_predict__refuses_what_is_no_image(given, message, predictor):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        predictor.predict(given)


def test_embed__is_what_the_head_sees(predictor, photos):
    embedded = torch.from_numpy(predictor.embed(photos))
    with torch.inference_mode():
        logits = predictor.model.head(embedded)
    assert np.allclose(logits.numpy(), predictor.logits(photos), atol=1e-6)


def test_explain__maps_each_class(predictor, photos):
    pytest.importorskip("pytorch_grad_cam")
    maps = predictor.explain(photos)
    assert maps.shape == (4, 16, 16)
    assert maps.min() >= 0
    assert maps.max() <= 1
    named = predictor.explain(photos, list(predictor.predict(photos)))
    assert np.allclose(maps, named, atol=1e-6)
    with pytest.raises(ValueError, match="knows no class 'emu', but cat, dog, eel"):
        predictor.explain(photos, ["emu"] * 4)
    with pytest.raises(ValueError, match="1 classes, 4 images"):
        predictor.explain(photos, ["cat"])


def test_card__says_what_it_is_and_what_it_reached(folder, predictor):
    assert predictor.card["classes"] == ["cat", "dog", "eel"]
    assert predictor.card["image_size"] == [16, 16]
    assert "test" not in predictor.card
    quiet = {name: value for name, value in QUICK.items() if name != "trainer.max_epochs"}
    assert francesinha.test(folder, {"figures.draw": False, **quiet}) == folder
    assert 0 <= predictor.card["test"]["accuracy"] <= 1


def test_predictor__is_an_estimator_of_scikit_learn(images, predictor):
    paths = sorted((images / "test").rglob("*.png"))
    labels = np.array([path.parent.name for path in paths])
    check_is_fitted(predictor)
    assert is_classifier(predictor)
    assert clone(predictor) is predictor
    assert predictor.score(paths, labels) == (predictor.predict(paths) == labels).mean()
    assert get_scorer("neg_log_loss")(predictor, paths, labels) < 0
    shown = ConfusionMatrixDisplay.from_estimator(predictor, paths, labels)
    assert shown.confusion_matrix.sum() == len(paths)
    is_cat = predictor.predict_proba(paths)[:, 0]
    assert CalibrationDisplay.from_predictions(labels == "cat", is_cat).prob_pred.size
    with pytest.raises(ValueError, match="trained already"):
        predictor.fit(paths, labels)


def test_stack__is_trained_loaded_and_reported(tmp_path):
    plan = {
        "root": tmp_path,
        "experiment": "x",
        "members": [
            {"name": "small", "fragments": ["configs/model/mlp.yaml"], "options": {"model.hidden": [16]}, "seed": 1},
            {"name": "linear", "fragments": ["configs/model/linear.yaml"], "seed": 2},
        ],
        "heads": [{"class_path": "LogisticHead", "init_args": {"C": 1.0}}],
        "options": {**QUICK, "data.stack_fraction": 0.3},
        "logit_cache": tmp_path / "cache",
    }
    # the members train in this process, and the command finds them done
    parsed = parse(words_of(plan))
    train(parsed, tmp_path / "x")
    for name, settings in check(parsed).settings.items():
        CellFiles(tmp_path / "x", name).write({"status": "done", "seconds": 1.0, "settings": settings})
    folder = francesinha.stack(plan)
    assert folder == tmp_path / "x/stack"
    predictor = francesinha.load(folder, device="cpu")
    assert predictor.card["members"] == ["small", "linear"]
    height, width = predictor.model.info.image_size
    images = np.random.default_rng(2).integers(0, 256, (3, height, width, 1), dtype=np.uint8)
    assert np.allclose(predictor.predict_proba(images).sum(1), 1)
    assert predictor.accepted(images).all()
    # a whole stack is one graph
    assert run("export", "--ckpt_path", folder, "--latency", "false", quick=False) == 0
    session = onnxruntime.InferenceSession(str(folder / "export/model.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"image": images.transpose(0, 3, 1, 2)})
    assert np.abs(found - predictor.predict_proba(images)).max() < 1e-6
    with pytest.raises(ValueError, match="a stack has several"):
        predictor.explain(images)
    with pytest.raises(FileNotFoundError, match="such as .*stack"):
        francesinha.load(tmp_path / "x")
    assert francesinha.report(tmp_path, {"out": tmp_path / "page"}).is_file()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: francesinha.fit({"model": "SmalCNN"}), "SmallCNN"),
        (lambda: francesinha.fit({"modell.hidden": [3]}), "--modell.hidden"),
        (lambda: francesinha.fit(config="nowhere.yaml"), r"nowhere\.yaml"),
        (lambda: francesinha.stack({"member": []}), "member"),
        (lambda: francesinha.report("nowhere"), "nowhere"),
    ],
)
def test_commands__tell_errors_as_the_command_line_does(call, message):
    with pytest.raises(francesinha.CommandError, match=message):
        call()
