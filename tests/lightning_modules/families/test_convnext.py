import pytest

from lightning_modules import ConvNeXt
from tests.helpers.families import build, check_family, count


def test_convnext__parameters():
    assert count(build(ConvNeXt)) == 27_827_818


def test_convnext__too_small_an_image():
    with pytest.raises(ValueError, match="smallest that works is 32x32"):
        build(ConvNeXt, size=16)


def test_fit_test_predict(tmp_path):
    check_family(ConvNeXt, tmp_path, size=32)
