import shutil

import numpy as np
import pytest
import torch
from torch import nn

from callbacks import FigureOptions, GradCam
from callbacks.drawing.folder import FigureFolder
from callbacks.drawing.given_images import GradCamOptions, find_images
from callbacks.drawing.grad_cam import grad_cam, last_feature_map
from callbacks.drawing.options import with_figures
from datamodules import ImageFolder
from lightning_modules import MLP, VGG, ConvNeXt, CustomCNN, EfficientNet, ResNet, SmallCNN
from lightning_modules.stacked_classifier import StackedClassifier
from tests.helpers.data import Blobs, data_info, random_images
from tests.helpers.training import trainer

pytest.importorskip("pytorch_grad_cam")

FAMILIES = [
    (SmallCNN, {}, 32),
    (CustomCNN, {"channels": [8, 8], "dense": 8}, 32),
    (ResNet, {"stem": "cifar"}, 32),
    (ResNet, {"freeze": "backbone", "memory_format": "channels_last"}, 64),
    (EfficientNet, {}, 64),
    (ConvNeXt, {}, 64),
    (VGG, {}, 64),
]


def reference(model, images, classes):
    """Grad-CAM as in the paper, of the map that the pooled features are computed from."""
    prepared = model.preprocessing(images).requires_grad_()
    maps = []
    layer = last_feature_map(model.backbone, prepared[:1])
    handle = layer.register_forward_hook(lambda module, inputs, output: maps.append(output))
    logits = model.head(model.backbone(prepared))
    handle.remove()
    (gradient,) = torch.autograd.grad(logits[torch.arange(len(images)), torch.as_tensor(classes)].sum(), maps[0])
    cam = (gradient.mean((2, 3), keepdim=True) * maps[0]).sum(1).relu()
    return cam.detach()


@pytest.mark.parametrize(("family", "options", "size"), FAMILIES)
def test_grad_cam__every_family(family, options, size):
    torch.manual_seed(0)
    model = family(data_info=data_info(3, size), **options).eval()
    images, classes = random_images(2, 3, size), np.array([1, 7])
    before = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    maps = grad_cam(model, images, classes)
    assert maps.shape == (2, size, size)
    assert np.isfinite(maps).all()
    assert 0 <= maps.min() <= maps.max() <= 1
    # the place of the largest value is the paper's
    for ours, theirs in zip(maps, reference(model, images, classes), strict=True):
        if theirs.max() > 0:
            row, column = np.unravel_index(ours.argmax(), ours.shape)
            cell = theirs[row * theirs.shape[0] // size, column * theirs.shape[1] // size]
            assert cell >= 0.8 * theirs.max()
    assert {name: parameter.requires_grad for name, parameter in model.named_parameters()} == before
    assert all(parameter.grad is None for parameter in model.parameters())


def test_last_feature_map__of_one_pixel_is_none():
    pooled = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert last_feature_map(pooled, torch.zeros(1, 1, 8, 8)) is pooled[1]
    assert last_feature_map(pooled, torch.zeros(1, 1, 3, 3)) is None


def test_test__overlays_in_the_middle_of_a_test(tmp_path):
    data = Blobs()
    model = SmallCNN(data_info=data.info)
    trainer(tmp_path, callbacks=[GradCam(images=4)]).test(model, datamodule=data, verbose=False)
    names = {path.name for path in (tmp_path / "figures").iterdir()}
    assert names == {"test_grad_cam_mistakes.png", "test_grad_cam_hits.png"}


def test_test__given_images_and_a_given_class(tmp_path, image_folder, monkeypatch):
    data = ImageFolder(root=str(image_folder))
    model = SmallCNN(data_info=data.info)
    outside = tmp_path / "outside.png"
    shutil.copy(image_folder / "test/cat/000.png", outside)
    drawn = {}
    monkeypatch.setattr(
        "figures.gallery.gallery", lambda images, texts, title, **more: drawn.update(more, texts=texts, title=title)
    )
    monkeypatch.setattr(FigureFolder, "save", lambda *args: None)
    asked = GradCamOptions([str(outside), "cat/000.png", str(image_folder / "test/dog/001.png")], "dog")
    callbacks = with_figures([], FigureOptions(draw=True), tmp_path, tmp_path, asked)
    callback = next(each for each in callbacks if isinstance(each, GradCam))
    trainer(tmp_path, callbacks=[callback]).test(model, datamodule=data, verbose=False)
    assert drawn["names"] == [str(outside), "test/cat/000.png", "test/dog/001.png"]
    assert drawn["title"].endswith("given images: what dog was read from")
    one, other, _ = drawn["overlays"]
    assert np.allclose(one, other)
    images = data.samples("test").source.gather(data.samples("test").rows[:1])
    assert np.allclose(other, grad_cam(model.eval(), images, np.array([1]))[0], atol=1e-5)
    # the true class of a file is not known
    assert "true" not in drawn["texts"][0]


def test_given__what_is_not_there_is_refused_before_the_test(tmp_path, image_folder):
    data = ImageFolder(root=str(image_folder))
    with pytest.raises(ValueError, match="images: 'nix.png' is neither a sample of the test split nor a file"):
        find_images(["nix.png"], data, "test", data.info)
    with pytest.raises(ValueError, match="'000.png' fits 3 samples|'00.png' is neither"):
        find_images(["000.png", "00.png"], data, "test", data.info)
    with pytest.raises(ValueError, match=r"there is no class 'Cat' \(looks like 'cat'\) \(known: cat, dog, eel\)"):
        GradCamOptions(class_name="Cat").class_number(data.info.class_names)


def test_test__an_mlp_has_no_maps(tmp_path):
    data = Blobs()
    with pytest.warns(UserWarning, match="figure not drawn: Grad-CAM: MLP has no feature maps"):
        trainer(tmp_path, callbacks=[GradCam()]).test(MLP(data_info=data.info), datamodule=data, verbose=False)


def test_grad_cam__says_what_a_model_lacks():
    whole = SmallCNN(data_info=Blobs().info)
    images = torch.zeros(1, 1, 16, 16, dtype=torch.uint8)
    del whole.preprocessing
    with pytest.raises(ValueError, match="SmallCNN has no preprocessing, which Grad-CAM needs"):
        grad_cam(whole, images, np.array([0]))
    stack = StackedClassifier.__new__(StackedClassifier)
    with pytest.raises(ValueError, match="draw the maps of its members"):
        grad_cam(stack, images, np.array([0]))
