"""What callbacks draw, when, and that nothing is lost where they cannot."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import classification_report
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

from callbacks import (
    BatchPicture,
    Calibration,
    ClassDistribution,
    ConfusionMatrix,
    Curves,
    Embeddings,
    FigureOptions,
    Gallery,
    LearningCurves,
    PerClassReport,
    PredictionSets,
    RunRecorder,
    StackDecisions,
)
from callbacks.drawing.base import EvaluationDrawing, find_samples
from callbacks.drawing.batch_picture import first_batch, seen_by_network
from callbacks.drawing.folder import FigureFolder
from callbacks.drawing.options import with_figures
from callbacks.drawing.projector import sprite
from lightning_modules import MLP, StackingModule
from measures.conformal import calibrate
from tests.helpers.data import Blobs
from tests.helpers.training import fit, trainer

OF_PREDICTIONS = (ConfusionMatrix, PerClassReport, Calibration, Curves, Gallery)
NAMES = {
    "confusion_matrix",
    "confusion_matrix_normalized",
    "confused_pairs",
    "per_class",
    "reliability",
    "confidence",
    "roc",
    "precision_recall",
    "risk_coverage",
    "misclassified",
    "confident_mistakes",
    "unsure_hits",
    "random_sample",
}


def recorder(folder):
    return RunRecorder(folder / "result.json", folder / "predictions.safetensors", {}, {"run": "x"})


def model_of(data, **options):
    return MLP(
        data_info=data.info, hidden=[8], optimizer=lambda p: torch.optim.Adam(p, lr=0.05), schedule=None, **options
    )


def drawn(folder):
    return {path.name for path in (folder / "figures").glob("*")}


def test_test__draws_every_figure_of_the_predictions(tmp_path):
    data = Blobs()
    model = model_of(data)
    callbacks = [recorder(tmp_path), *(kind() for kind in OF_PREDICTIONS)]
    trainer(tmp_path, callbacks=callbacks).test(model, datamodule=data, verbose=False)
    assert drawn(tmp_path) == {f"test_{name}.png" for name in NAMES} | {"test_classification_report.txt"}
    for path in (tmp_path / "figures").glob("*.png"):
        pixels = np.asarray(Image.open(path))
        assert pixels.std() > 5, path
    predictions = load_file(tmp_path / "predictions.safetensors")
    labels, predicted = predictions["test/label"], predictions["test/logits"].argmax(1)
    names = [data.info.class_names[number] for number in np.union1d(labels, predicted)]
    expected = classification_report(labels, predicted, target_names=names, digits=4, zero_division=0)
    assert expected in (tmp_path / "figures/test_classification_report.txt").read_text()


def test_validate__draws_the_validation_split(tmp_path):
    data = Blobs(val_fraction=0.3)
    trainer(tmp_path, callbacks=[ConfusionMatrix()]).validate(model_of(data), datamodule=data, verbose=False)
    assert "val_confusion_matrix.png" in drawn(tmp_path)


class Seen(EvaluationDrawing):
    """Keeps what it would draw."""

    subject = "nothing"

    def draw(self, evaluated):
        self.evaluated = evaluated
        return iter(())


def test_fit__draws_the_best_epoch(tmp_path):
    data, seen = Blobs(val_fraction=0.3), Seen(fit=True)
    best = ModelCheckpoint(tmp_path, filename="best", monitor="val/accuracy", mode="max")
    fitting = trainer(tmp_path, callbacks=[recorder(tmp_path), best, seen], max_epochs=6)
    fitting.fit(model_of(data), datamodule=data)
    kept = load_file(tmp_path / "predictions.safetensors")
    assert seen.evaluated.split == "val"
    assert np.array_equal(seen.evaluated.logits, kept["val/logits"])


def test_fit__draws_nothing_unless_asked(tmp_path):
    data = Blobs(val_fraction=0.3)
    callbacks = [recorder(tmp_path), *FigureOptions().callbacks()]
    fitting = trainer(tmp_path, callbacks=callbacks, enable_checkpointing=False)
    fitting.fit(model_of(data), datamodule=data)
    assert not (tmp_path / "figures").exists()


def test_fit__learning_curves_and_data(tmp_path):
    data = Blobs(val_fraction=0.3)
    callbacks = [recorder(tmp_path), LearningCurves(fit=True), ClassDistribution(), BatchPicture()]
    logger = CSVLogger(tmp_path, name="", version="", flush_logs_every_n_steps=1000)
    fitting = trainer(tmp_path, callbacks=callbacks, logger=logger, enable_checkpointing=False, log_every_n_steps=1)
    fitting.fit(model_of(data), datamodule=data)
    assert drawn(tmp_path) == {"fit_learning_curves.png", "data_class_distribution.png", "train_batch.png"}


def test_rehearsal__leaves_nothing(tmp_path):
    data = Blobs(val_fraction=0.3)
    callbacks = [BatchPicture(), ClassDistribution(), *(kind(fit=True) for kind in OF_PREDICTIONS)]
    trainer(tmp_path, callbacks=callbacks, fast_dev_run=True).fit(model_of(data), datamodule=data)
    assert not (tmp_path / "figures").exists()


class Broken(EvaluationDrawing):
    """Draws nothing."""

    subject = "broken"

    def draw(self, evaluated):
        raise RuntimeError("no ink")
        yield


def test_failure__is_reported_and_nothing_is_lost(tmp_path):
    data = Blobs()
    testing = trainer(tmp_path, callbacks=[recorder(tmp_path), Broken(), ConfusionMatrix()])
    with pytest.warns(UserWarning, match="figure not drawn: broken: no ink"):
        testing.test(model_of(data), datamodule=data, verbose=False)
    assert "accuracy" in json.loads((tmp_path / "result.json").read_text())["test"]
    # what comes after it is drawn
    assert "test_confusion_matrix.png" in drawn(tmp_path)


def test_other_processes__draw_nothing(tmp_path, monkeypatch):
    data = Blobs()
    testing = trainer(tmp_path, callbacks=[ConfusionMatrix()])
    monkeypatch.setattr(type(testing), "is_global_zero", property(lambda self: False))
    testing.test(model_of(data), datamodule=data, verbose=False)
    assert not (tmp_path / "figures").exists()


def test_test__few_samples_of_one_class(tmp_path, recwarn):
    data = Blobs()
    data.splits["test"] = data.splits["test"].subset([0])
    callbacks = [kind() for kind in OF_PREDICTIONS]
    trainer(tmp_path, callbacks=callbacks).test(model_of(data), datamodule=data, verbose=False)
    assert {f"test_{name}.png" for name in NAMES} <= drawn(tmp_path)
    assert not [str(w.message) for w in recwarn if "not drawn" in str(w.message)]


def test_tensorboard__figures_in_the_loggers_events(tmp_path):
    data = Blobs(val_fraction=0.3)
    logger = TensorBoardLogger(tmp_path, name="", version="", default_hp_metric=False)
    callbacks = [ConfusionMatrix(fit=True)]
    fitting = trainer(tmp_path, callbacks=callbacks, logger=logger, enable_checkpointing=False, max_epochs=1)
    fitting.fit(model_of(data), datamodule=data)
    events = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in events.Images("val/confusion_matrix")] == [fitting.global_step] != [0]


@pytest.mark.parametrize("wanted", [True, False])
def test_tensorboard__at_test_events_of_their_own(tmp_path, wanted):
    data = Blobs()
    options = FigureOptions(tensorboard=wanted, gallery=False, curves=False, calibration=False, per_class=False)
    callbacks = with_figures([], options, tmp_path / "pictures", tmp_path)
    model = model_of(data)
    # as its checkpoint says
    model.trained_steps = 12
    trainer(tmp_path, callbacks=callbacks).test(model, datamodule=data, verbose=False)
    assert (tmp_path / "pictures/test_confusion_matrix.png").is_file()
    events = list(tmp_path.glob("events.*"))
    assert len(events) == wanted
    if wanted:
        found = EventAccumulator(str(tmp_path)).Reload()
        images = found.Tags()["images"]
        assert {event.step for name in images for event in found.Images(name)} == {12}
        assert set(images) == {"test/confusion_matrix", "test/confusion_matrix_normalized", "test/confused_pairs"}


def test_gallery__the_random_sample_follows_the_seed(tmp_path, monkeypatch):
    data, drawn_of = Blobs(), []
    model = model_of(data)
    monkeypatch.setattr("figures.gallery.prediction", lambda *args: drawn_of.append(args[-1]))
    monkeypatch.setattr("figures.gallery.gallery", lambda *args, **options: None)
    monkeypatch.setattr(FigureFolder, "save", lambda *args: None)
    for seed in (0, 0, 1, 2, 3):
        torch.manual_seed(seed)
        trainer(tmp_path, callbacks=[Gallery()]).test(model, datamodule=data, verbose=False)
    assert drawn_of[0] == drawn_of[1]
    assert len(set(drawn_of)) > 2
    # the names of files are those of the data
    assert set(drawn_of) <= set(data.samples("test").sample_names())


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_options__format_and_dots(tmp_path, kind):
    data = Blobs()
    chosen = {"gallery": False, "curves": False, "calibration": False, "per_class": False}
    options = FigureOptions(**chosen, dpi=60, format=kind)
    callbacks = with_figures([], options, tmp_path / "pictures", tmp_path)
    trainer(tmp_path, callbacks=callbacks).test(model_of(data), datamodule=data, verbose=False)
    path = tmp_path / f"pictures/test_confusion_matrix.{kind}"
    assert {each.suffix for each in (tmp_path / "pictures").iterdir()} == {f".{kind}"}
    assert path.read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xm"}[kind]
    if kind == "png":
        assert Image.open(path).info["dpi"] == pytest.approx((60, 60), abs=0.1)
    assert "test/confusion_matrix" in EventAccumulator(str(tmp_path)).Reload().Tags()["images"]


# embeddings


def test_embeddings__figures_numbers_and_projector(tmp_path):
    data = Blobs()
    callback = Embeddings(samples=20)
    trainer(tmp_path, callbacks=[callback]).test(model_of(data), datamodule=data, verbose=False)
    kinds = {"embeddings_pca.png", "embeddings_variance.png", "embeddings_spread.png", "embeddings_tsne.png"}
    assert drawn(tmp_path) == {f"test_{name}" for name in (*kinds, "embeddings.json", "projector")}
    numbers = json.loads((tmp_path / "figures/test_embeddings.json").read_text())
    assert (numbers["samples"], numbers["dim"]) == (20, 8)
    assert set(numbers["spread"]) == {"left", "middle", "right"}
    assert -1 <= numbers["silhouette"] <= 1


def test_projector__is_part_of_the_run(tmp_path):
    data = Blobs(val_fraction=0.3)
    old = tmp_path / "figures/test_projector/events.out.tfevents.1"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")
    for _ in range(2):
        callback = Embeddings(samples=10, tsne=False)
        again = trainer(tmp_path, callbacks=[callback])
        again.validate(model_of(data), datamodule=data, verbose=False)
        again.test(model_of(data), datamodule=data, verbose=False)
    # a folder with events is a run to TensorBoard
    assert not list((tmp_path / "figures").rglob("events.*"))
    config = ProjectorConfig()
    text_format.Parse((tmp_path / "projector_config.pbtxt").read_text(), config)
    assert [each.tensor_name for each in config.embeddings] == ["test", "val"]
    for each in config.embeddings:
        assert np.loadtxt(tmp_path / each.tensor_path, delimiter="\t").shape == (10, 8)
        assert len((tmp_path / each.metadata_path).read_text().splitlines()) == 10
        # four columns hold ten images of sixteen pixels
        assert Image.open(tmp_path / each.sprite.image_path).size == (64, 64)
        assert list(each.sprite.single_image_dim) == [16, 16]


def test_sprite__images_row_by_row():
    images = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
    picture = sprite(images, 2)
    assert picture.shape == (6, 6, 3)
    assert picture[::2, ::2, 0].tolist() == [[0, 1, 2], [3, 4, 0], [0, 0, 0]]


# the training batch


def test_batch_picture__is_the_batch_that_is_trained_on(tmp_path):
    data = Blobs(augmentation=("crop", "flip"), batch_size=8)
    model = model_of(data, input_size=16)
    trained = []

    class Spy(BatchPicture):
        def on_train_start(self, trainer, pl_module):
            self.batch = first_batch(trainer, pl_module)

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            trained.append(batch)

    spy = Spy()
    trainer(tmp_path, callbacks=[spy], max_epochs=1, enable_checkpointing=False).fit(model, datamodule=data)
    for name in ("id", "image"):
        assert torch.equal(spy.batch[name], trained[0][name])
    assert torch.equal(seen_by_network(model, spy.batch["image"]), spy.batch["image"])


def test_batch_picture__changes_no_weight(tmp_path):
    weights = []
    for callbacks in ([], [BatchPicture()]):
        torch.manual_seed(0)
        data = Blobs(augmentation=("crop",), mixup=0.4, batch_size=8)
        model = model_of(data)
        folder = tmp_path / str(len(callbacks))
        trainer(folder, callbacks=callbacks, enable_checkpointing=False).fit(model, datamodule=data)
        weights.append(model.head.weight.detach())
    assert torch.equal(*weights)


# stacks


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stack")
    data = Blobs(count=120, stack_fraction=0.4)
    bases = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        bases.append(str(fit(model_of(data), data, folder / name, max_epochs=1)))
    model = StackingModule(data_info=data.info, bases=bases)
    trainer(folder, enable_checkpointing=False, max_epochs=1).fit(model, datamodule=data)
    return model, data


def test_stack__decisions_and_weights(tmp_path, stack, monkeypatch):
    model, data = stack
    calls = {}
    monkeypatch.setattr("figures.stack.stack_decisions", lambda *args, **options: calls.setdefault("decisions", args))
    monkeypatch.setattr(FigureFolder, "save", lambda *args: None)
    trainer(tmp_path, callbacks=[StackDecisions()]).test(model, datamodule=data, verbose=False)
    labels, members, stacked, names = calls["decisions"]
    assert names == model.base_names
    assert (stacked == labels).mean() == pytest.approx(model.metrics["accuracy"])
    for number, member in enumerate(model.members[:2]):
        assert (members[:, number] == labels).mean() == pytest.approx(member["accuracy"])


def test_stack__draws_what_a_classifier_does(tmp_path, stack):
    model, data = stack
    callbacks = [StackDecisions(), Gallery(), ConfusionMatrix(), Embeddings(samples=10, tsne=False)]
    trainer(tmp_path, callbacks=callbacks).test(model, datamodule=data, verbose=False)
    kinds = {"stack_decisions", "stack_by_class", "head_weights", "misclassified", "confusion_matrix", "embeddings_pca"}
    assert {f"test_{name}.png" for name in kinds} <= drawn(tmp_path)


def test_stack__of_no_stack_nothing_is_drawn(tmp_path):
    data = Blobs()
    trainer(tmp_path, callbacks=[StackDecisions()]).test(model_of(data), datamodule=data, verbose=False)
    assert not (tmp_path / "figures").exists()


def test_find_samples__in_another_split():
    data = Blobs(count=90, stack_fraction=0.3)
    wanted = data.samples("stack").ids[[3, 0, 5]]
    assert torch.equal(find_samples(data, "val", wanted).ids, wanted)
    with pytest.raises(ValueError, match="no images of the samples"):
        find_samples(data, "val", torch.tensor([1, 2]))


# options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"umap": True}, "--figures.umap needs --figures.embeddings"),
        ({"images": 0}, "--figures.images must be at least 1"),
        ({"samples": 1}, "--figures.samples must be at least 2"),
        ({"dpi": 5}, "--figures.dpi must be from 20"),
    ],
)
def test_options__refused(options, message):
    with pytest.raises(ValueError, match=message):
        FigureOptions(**options)


def test_options__missing_extras_are_named(monkeypatch):
    for name in ("embeddings", "grad_cam"):
        monkeypatch.setattr(f"callbacks.drawing.{name}.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"francesinha\[umap\]"):
        FigureOptions(embeddings=True, umap=True)
    with pytest.raises(ValueError, match=r"francesinha\[gradcam\]"):
        FigureOptions(grad_cam=True)


def test_options__a_given_callback_takes_the_place_of_its_like(tmp_path):
    own = Gallery(images=3)
    both = with_figures([own], FigureOptions(), tmp_path / "figures", tmp_path)
    assert [callback for callback in both if isinstance(callback, Gallery)] == [own]
    assert own.files.folder == tmp_path / "figures"
    assert with_figures([], FigureOptions(draw=False), tmp_path, tmp_path) == []


def test_embeddings__umap_by_its_extra(tmp_path, monkeypatch):
    # the package takes up to a minute to import
    class UMAP:
        def __init__(self, **options):
            self.options = options

        def fit_transform(self, embeddings):
            assert self.options["n_neighbors"] < len(embeddings)
            return embeddings[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    monkeypatch.setattr("callbacks.drawing.embeddings.find_spec", lambda name: object())
    data = Blobs()
    callback = Embeddings(samples=9, tsne=False, umap=True)
    trainer(tmp_path, callbacks=[callback]).test(model_of(data), datamodule=data, verbose=False)
    assert "test_embeddings_umap.png" in drawn(tmp_path)


def test_prediction_sets__of_test_alone(tmp_path):
    """Those of the validation samples are calibrated on themselves."""
    data = Blobs(count=120, val_fraction=0.3)
    model = MLP(data_info=data.info, hidden=[8])
    fit(model, data, tmp_path)
    drawing = PredictionSets()
    drawing.files = FigureFolder(tmp_path / "figures", tmp_path, tensorboard=False)
    again = trainer(tmp_path, callbacks=[recorder(tmp_path), drawing])
    again.validate(model, datamodule=data, verbose=False)
    again.test(model, datamodule=data, verbose=False)
    assert not list((tmp_path / "figures").glob("*"))
    # as a checkpoint brings it
    model.calibration = calibrate(torch.eye(3)[[0, 1, 2] * 20], torch.tensor([0, 1, 0] * 20), "val")
    again.validate(model, datamodule=data, verbose=False)
    again.test(model, datamodule=data, verbose=False)
    assert [path.name for path in (tmp_path / "figures").glob("*")] == ["test_prediction_sets.png"]
