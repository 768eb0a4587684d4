import pytest

from datamodules import DataInfo
from tests.helpers.data import data_info


def test_plain__round_trip():
    info = data_info(1, 28)
    plain = info.plain()
    assert plain["image_size"] == [28, 28]
    assert DataInfo.from_plain(plain) == info


def test_check_compatible__names_both_sides():
    with pytest.raises(ValueError, match=r"a.ckpt has num_classes 10, but --data has num_classes 3"):
        data_info().check_compatible(data_info(num_classes=3), "a.ckpt", "--data")


def test_check_compatible__sizes_may_differ():
    data_info(size=32).check_compatible(data_info(size=96), "a", "b")
