import pytest
import torch

from lightning_modules.preprocessing import Preprocessing
from tests.helpers.data import random_images


def test_preprocessing__scales_and_normalises():
    images = random_images(2, 3, 8)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    expected = (images / 255 - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert torch.allclose(Preprocessing((8, 8), mean, std)(images), expected, atol=1e-6)


def test_preprocessing__resizes_with_antialiasing():
    # a fine chequerboard is grey from afar, not black or white
    board = (torch.arange(32)[:, None] + torch.arange(32)) % 2 * 255
    small = Preprocessing((8, 8), [0.0], [1.0])(board[None, None].to(torch.uint8))
    assert small.shape == (1, 1, 8, 8)
    assert (small - 0.5).abs().max() < 0.05


def test_preprocessing__is_saved_with_the_weights():
    state = Preprocessing((8, 8), [0.25], [0.5]).state_dict()
    assert set(state) == {"mean", "std"}


def test_preprocessing__floats_are_refused():
    with pytest.raises(TypeError, match="uint8"):
        Preprocessing((8, 8), [0.0], [1.0])(torch.zeros(1, 1, 8, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_preprocessing__resizes_in_any_precision(dtype):
    images = random_images(2, 3, 16)
    expected = Preprocessing((8, 8), [0.5] * 3, [0.25] * 3)(images)
    prepared = Preprocessing((8, 8), [0.5] * 3, [0.25] * 3).to(dtype)(images)
    assert prepared.dtype == dtype
    assert (prepared.float() - expected).abs().max() < 0.05
