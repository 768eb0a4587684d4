import pytest

from lightning_modules import CustomCNN
from tests.helpers.data import data_info
from tests.helpers.families import build, check_family, count


def test_custom_cnn__parameters():
    assert count(build(CustomCNN)) == 4_823_114


def test_custom_cnn__no_block():
    with pytest.raises(ValueError, match="--model.channels"):
        CustomCNN(data_info=data_info(), channels=[])


def test_fit_test_predict(tmp_path):
    check_family(CustomCNN, tmp_path, size=8, channels=[4, 8], dense=8)
