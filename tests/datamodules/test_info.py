import unicodedata
from dataclasses import replace

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


def test_check_compatible__all_that_differs_at_once():
    message = (
        r"a has num_classes 10, but b has num_classes 3; a has in_channels 3, but .*; a has class_names .* alone: '3', "
    )
    with pytest.raises(ValueError, match=message):
        data_info().check_compatible(data_info(1, num_classes=3), "a", "b")


def test_check_compatible__a_thousand_classes_of_which_one_differs():
    info = data_info(num_classes=1000)
    other = replace(info, class_names=["Zero", *info.class_names[1:]])
    with pytest.raises(ValueError, match=r"and 990 more.*\(here alone: '0'; there alone: 'Zero'\)") as found:
        info.check_compatible(other, "a", "b")
    assert len(str(found.value)) < 400


def test_from_plain__names_in_one_unicode_form():
    plain = data_info(num_classes=2).plain()
    plain["class_names"] = [unicodedata.normalize("NFD", "chêne"), "pin"]
    assert DataInfo.from_plain(plain).class_names == ["chêne", "pin"]


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("0,4095", "full", "a.ckpt has value_range 0,4095, but --data has full: set --data.value_range 0,4095"),
        # trained before there was a choice
        (None, "0,4095", "a.ckpt has value_range full, but --data has 0,4095"),
    ],
)
def test_check_compatible__ranges_of_values(model, data, message):
    info = replace(data_info(), value_range=model)
    with pytest.raises(ValueError, match=message):
        info.check_compatible(replace(data_info(), value_range=data), "a.ckpt", "--data")
    # arrays have no such choice
    info.check_compatible(data_info(), "a.ckpt", "--data")
