import numpy as np
import pytest
from sklearn.datasets import load_digits

from datamodules import Digits


def test_digits__all_images_once():
    data = Digits(stack_fraction=0.2, image_size=None)
    total = sum(len(samples) for samples in data.splits.values())
    assert total == 1797
    assert data.info.class_names == [str(n) for n in range(10)]


def test_digits__pixels_are_scikit_learns():
    samples = Digits(image_size=None).dataset.test
    images = samples.source.tensor[:, 0].numpy()
    known = {image.tobytes() for image in np.round(load_digits().images * (255 / 16)).astype(np.uint8)}
    assert images.shape[1:] == (8, 8)
    assert all(image.tobytes() in known for image in images)


def test_digits__test_split_is_fixed():
    assert Digits(split_seed=5).fingerprint("test") == Digits().fingerprint("test")


def test_test_fraction__is_the_share_of_all_images():
    data = Digits(test_fraction=0.7, image_size=None)
    counts = {name: len(samples) for name, samples in data.splits.items()}
    assert counts["test"] == 1258
    assert sum(counts.values()) == 1797
    with pytest.raises(ValueError, match=r"--data.test_fraction must be in \(0, 1\), not 1"):
        Digits(test_fraction=1.0)
