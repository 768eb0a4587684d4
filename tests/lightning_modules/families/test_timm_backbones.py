import pytest

from lightning_modules.families.timm_backbones import timm_backbone
from tests.helpers.data import random_images


@pytest.mark.parametrize("channels", [1, 3])
def test_timm_backbone__gives_pooled_embeddings(channels):
    backbone = timm_backbone("resnet18", channels).eval()
    assert backbone(random_images(2, channels).float()).shape == (2, 512)
