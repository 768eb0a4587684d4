from lightning_modules import SmallCNN
from tests.helpers.families import build, check_family, count


def test_small_cnn__parameters():
    assert count(build(SmallCNN)) == 167_562


def test_fit_test_predict(tmp_path):
    check_family(SmallCNN, tmp_path, size=12)
