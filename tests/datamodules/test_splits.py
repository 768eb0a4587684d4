import numpy as np
import pytest

from datamodules.splits import stratified_holdout


def labels_of(*counts):
    return np.repeat(np.arange(len(counts)), counts)


def test_holdout__partitions_all_samples():
    parts = stratified_holdout(labels_of(50, 30, 20), [0.2, 0.1], seed=3)
    assert sorted(np.concatenate(parts)) == list(range(100))


def test_holdout__keeps_class_shares():
    labels = labels_of(50, 30, 20)
    _, val, stack = stratified_holdout(labels, [0.2, 0.1], seed=3)
    assert np.bincount(labels[val]).tolist() == [10, 6, 4]
    assert np.bincount(labels[stack]).tolist() == [5, 3, 2]


def test_holdout__is_the_same_on_every_machine():
    # written down once: a change here would silently mix the splits of old and new checkpoints
    _, held = stratified_holdout(labels_of(6, 6), [0.34], seed=7)
    assert held.tolist() == [2, 5, 6, 11]


def test_holdout__differs_by_seed():
    labels = labels_of(100, 100)
    assert not np.array_equal(*(stratified_holdout(labels, [0.5], seed)[1] for seed in (0, 1)))


def test_holdout__copies_of_an_image_stay_on_one_side():
    labels, keys = labels_of(40, 40), np.arange(80) // 4
    for seed in range(5):
        rest, held = stratified_holdout(labels, [0.3], seed, keys)
        assert not set(keys[rest]) & set(keys[held])
        assert len(rest) + len(held) == 80


def test_holdout__every_side_gets_a_sample_of_a_tiny_class():
    labels = labels_of(100, 3)
    for part in stratified_holdout(labels, [0.1, 0.1], seed=0):
        assert (labels[part] == 1).sum() == 1


def test_holdout__a_class_too_small_is_named():
    with pytest.raises(ValueError, match=r"class 'zebra' has 1 distinct image"):
        stratified_holdout(labels_of(10, 1), [0.1], seed=0, class_names=["cat", "zebra"])


@pytest.mark.parametrize("fractions", [[1.0], [-0.1], [0.6, 0.4]])
def test_holdout__impossible_fractions_are_refused(fractions):
    with pytest.raises(ValueError, match="fractions"):
        stratified_holdout(labels_of(10, 10), fractions, seed=0)


def test_holdout__fraction_zero_holds_nothing():
    rest, held = stratified_holdout(labels_of(1, 4), [0.0], seed=0)
    assert len(rest) == 5
    assert len(held) == 0
