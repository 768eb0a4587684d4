import numpy as np
import pytest
import torch

from ensembling.tta import shift, tta_logits, views
from tests.helpers.data import random_images


@pytest.mark.parametrize(("down", "right"), [(2, 0), (-3, 0), (0, 1), (0, -2), (1, -1), (0, 0)])
def test_shift__equals_padding_by_reflection(down, right):
    images = random_images(2, 3, 9)
    padded = np.pad(images.numpy(), ((0, 0), (0, 0), (4, 4), (4, 4)), mode="reflect")
    expected = padded[:, :, 4 - down : 13 - down, 4 - right : 13 - right]
    assert np.array_equal(shift(images, down, right).numpy(), expected)


def test_shift__of_images_of_one_pixel():
    images = random_images(2, 1, 1)
    assert torch.equal(shift(images, 1, -1), images)


@pytest.mark.parametrize(("tta", "count"), [("none", 1), ("flip", 2), ("flip_shift", 10)])
def test_views__start_with_the_images_and_all_differ(tta, count):
    images = random_images(1, 3, 32)
    seen = list(views(images, tta))
    assert torch.equal(seen[0], images)
    assert all(view.shape == images.shape and view.dtype == torch.uint8 for view in seen)
    assert len({view.numpy().tobytes() for view in seen}) == count


def test_views__an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="no TTA 'mirror'.*flip_shift"):
        list(views(random_images(), "mirror"))


def test_tta_logits__are_the_log_of_the_mean_probability():
    torch.manual_seed(0)
    images, weight = random_images(4, 1, 8), torch.randn(64, 3) / 50

    def model(batch):
        return batch.flatten(1).float() @ weight

    mean = (model(images).softmax(1) + model(images.flip(3)).softmax(1)) / 2
    assert torch.allclose(tta_logits(model, images, "flip").exp(), mean, atol=1e-6)
    assert torch.equal(tta_logits(model, images, "none"), model(images))
    # a mirrored image has the same views
    both = [tta_logits(model, batch, "flip_shift") for batch in (images, images.flip(3))]
    assert torch.allclose(*both, atol=1e-5)
