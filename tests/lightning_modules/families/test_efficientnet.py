import typing

import pytest

from lightning_modules import EfficientNet
from lightning_modules.families.efficientnet import TIMM_NAMES
from tests.helpers.families import build, check_family, count


@pytest.mark.parametrize(("variant", "parameters"), [("b0", 4_020_358), ("v2_b1", 6_872_862), ("v2_s", 20_190_298)])
def test_efficientnet__parameters(variant, parameters):
    assert count(build(EfficientNet, variant=variant)) == parameters


def test_efficientnet__every_variant_has_a_network():
    timm = pytest.importorskip("timm")
    variants = typing.get_args(typing.get_type_hints(EfficientNet)["variant"])
    assert set(variants) == set(TIMM_NAMES)
    assert all(timm.is_model(name) for name in TIMM_NAMES.values())


def test_fit_test_predict(tmp_path):
    check_family(EfficientNet, tmp_path, variant="lite0")
