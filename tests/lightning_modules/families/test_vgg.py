import pytest
import torch

from lightning_modules import VGG
from tests.helpers.data import Blobs
from tests.helpers.families import build, check_family, count
from tests.helpers.training import fit


def test_vgg__parameters():
    assert count(build(VGG)) == 14_748_170


def test_vgg__until_dense_trains_the_dense_layers_alone(tmp_path):
    data = Blobs(count=12, size=32)
    model = VGG(data_info=data.info, freeze="until:dense")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fit(model, data, tmp_path, max_epochs=1, limit_val_batches=0)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"backbone.dense.weight", "backbone.dense.bias", "head.weight", "head.bias"}
    assert all(p.requires_grad for p in build(VGG).parameters())


def test_vgg__too_small_an_image():
    with pytest.raises(ValueError, match="smallest that works is 32x32"):
        build(VGG, size=16)


def test_fit_test_predict(tmp_path):
    check_family(VGG, tmp_path, size=32)
