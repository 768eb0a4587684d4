import pytest

from lightning_modules import ResNet
from tests.helpers.data import random_images
from tests.helpers.families import build, check_family, count


def test_resnet__parameters():
    assert count(build(ResNet, variant="18", stem="cifar")) == 11_173_962
    assert count(build(ResNet, variant="50")) == 23_528_522


@pytest.mark.parametrize(("stem", "side"), [("cifar", 4), ("imagenet", 1)])
def test_resnet__cifar_stem_keeps_small_images_whole(stem, side):
    model = build(ResNet, stem=stem).eval()
    maps = model.backbone.forward_features(model.preprocessing(random_images(1)))
    assert maps.shape == (1, 512, side, side)


def test_fit_test_predict(tmp_path):
    check_family(ResNet, tmp_path, size=8, stem="cifar")


def test_width__is_of_all_stages_and_survives_a_checkpoint(tmp_path):
    # every product of two widened sides grows fourfold, which is nearly all of the network
    assert count(build(ResNet, stem="cifar", width=2.0)) == 44_595_786
    check_family(ResNet, tmp_path, size=8, stem="cifar", width=0.125)


def test_width__has_no_pretrained_weights():
    with pytest.raises(ValueError, match="--model.width 2.0 and --model.pretrained true exclude each other"):
        build(ResNet, width=2.0, pretrained=True)
