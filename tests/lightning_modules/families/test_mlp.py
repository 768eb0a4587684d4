import pytest

from lightning_modules import MLP, Linear
from tests.helpers.families import build, check_family, count


def test_mlp__parameters():
    assert count(build(MLP, channels=1, size=28)) == 270_346


def test_linear__parameters():
    assert count(build(Linear)) == 3 * 32 * 32 * 10 + 10


@pytest.mark.parametrize("model_class", [MLP, Linear])
def test_fit_test_predict(model_class, tmp_path):
    check_family(model_class, tmp_path, size=8)
