import numpy as np
import pytest

from datamodules.splits import content_holdout, long_tail, stratified_folds, stratified_holdout, stratified_subset


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


@pytest.mark.parametrize("of_group", [1, 10])
def test_content_holdout__other_labels_share_the_test(of_group):
    rng = np.random.default_rng(0)
    keys = rng.integers(-(2**62), 2**62, 1000)
    groups = None if of_group == 1 else rng.integers(-(2**62), 2**62, 100)[np.arange(1000) // 10]
    rest, held = content_holdout(0.2, 0, keys, groups)
    assert sorted(np.concatenate([rest, held])) == list(range(1000))
    assert 120 < len(held) < 280
    if groups is not None:
        assert not set(groups[rest]) & set(groups[held])
    # another order, and images that are added, change nothing
    order = rng.permutation(1000)[:900]
    again = order[content_holdout(0.2, 0, keys[order], None if groups is None else groups[order])[1]]
    assert set(again) == set(held) & set(order)
    # stratified, most are the same, but not all
    by_labels = [stratified_holdout(rng.integers(0, k, 1000), [0.2], 0, keys, by_content=True)[1] for k in (4, 10)]
    shared = len(np.intersect1d(*by_labels)) / 200
    assert 0.85 < shared < 1


def test_content_holdout__copies_of_an_image_stay_on_one_side():
    keys = np.arange(400) // 4 * 7919
    rest, held = content_holdout(0.3, 0, keys)
    assert not set(keys[rest]) & set(keys[held])


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


def test_holdout__no_group_on_two_sides():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 60, 600)
    # a group has one class, as a patient does; and some have two
    labels = (groups % 3 + (rng.random(600) < 0.05)) % 3
    for seed in range(5):
        rest, val, stack = stratified_holdout(labels, [0.2, 0.1], seed, groups=groups)
        sides = [set(groups[part]) for part in (rest, val, stack)]
        assert not sides[0] & sides[1]
        assert not sides[0] & sides[2]
        assert not sides[1] & sides[2]
        assert sorted(np.concatenate([rest, val, stack])) == list(range(600))
        shares = np.bincount(labels[val]) / np.bincount(labels)
        assert shares == pytest.approx([0.2] * 3, abs=0.06)


def test_holdout__groups_joined_by_a_copy_stay_together():
    labels = labels_of(20, 20)
    groups = np.arange(40) // 2
    keys = np.arange(40)
    # an image of group 0 has a copy in group 5, and one of that in group 9
    keys[10], keys[18] = keys[0], keys[11]
    for seed in range(10):
        sides = np.zeros(40, int)
        sides[stratified_holdout(labels, [0.4], seed, keys, groups=groups)[1]] = 1
        assert len(set(sides[[0, 1, 10, 11, 18, 19]])) == 1


def test_holdout__the_last_group_of_a_class_goes_where_it_is_lacking():
    # if size alone counted, all three groups of each class would stay in the remainder
    labels, groups = labels_of(30, 30), np.arange(60) // 10
    rest, val = stratified_holdout(labels, [0.1], 0, groups=groups)
    assert set(labels[val]) == {0, 1}
    assert len(rest) == 40


def test_holdout__too_few_groups_are_named():
    with pytest.raises(ValueError, match=r"class 'cat' has 1 group\(s\) of images, too few for 2 splits"):
        stratified_holdout(labels_of(10, 10), [0.2], 0, None, ["cat", "dog"], np.array([0] * 10 + list(range(1, 11))))


def test_folds__are_even_in_size_and_class():
    labels = labels_of(53, 31, 17)
    folds = stratified_folds(labels, 5, seed=2)
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 1
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_folds__are_the_same_on_every_machine():
    assert stratified_folds(labels_of(4, 5), 3, seed=1).tolist() == [1, 2, 0, 0, 1, 2, 0, 1, 2]


def test_folds__hold_groups_together_as_evenly_as_scikit_learn():
    from sklearn.model_selection import StratifiedGroupKFold

    rng = np.random.default_rng(3)
    groups = rng.integers(0, 80, 900)
    labels = groups % 4
    folds = stratified_folds(labels, 5, seed=0, groups=groups)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))

    def spread(parts):
        counts = np.stack([np.bincount(labels[part], minlength=4) for part in parts])
        return (counts.std(0) / counts.mean(0)).mean()

    theirs = [test for _, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(labels, labels, groups)]
    assert spread([folds == fold for fold in range(5)]) <= 1.2 * spread(theirs) + 0.01


def test_folds__a_class_too_small_is_named():
    with pytest.raises(ValueError, match=r"class 'zebra' has 2 distinct image\(s\), too few for 3 folds"):
        stratified_folds(labels_of(9, 2), 3, 0, class_names=["cat", "zebra"])
    with pytest.raises(ValueError, match="at least 2 folds"):
        stratified_folds(labels_of(9, 2), 1, 0)


def test_subset__smaller_shares_are_parts_of_larger_ones():
    labels = labels_of(50, 30, 3)
    parts = [set(stratified_subset(labels, fraction, seed=4)) for fraction in (0.05, 0.2, 0.5, 1.0)]
    assert parts[0] < parts[1] < parts[2] < parts[3]
    assert np.bincount(labels[sorted(parts[1])]).tolist() == [10, 6, 1]
    # every class keeps at least one
    assert np.bincount(labels[sorted(parts[0])]).tolist() == [2, 2, 1]


def test_long_tail__the_published_counts_of_cifar10():
    labels = np.repeat(np.arange(10), 5000)
    kept = long_tail(labels, "exponential", 100, seed=0)
    assert np.bincount(labels[kept]).tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert len(np.unique(kept)) == len(kept)
    step = long_tail(labels, "step", 10, seed=0)
    assert np.bincount(labels[step]).tolist() == [5000] * 5 + [500] * 5


def test_long_tail__a_class_that_would_vanish_is_named():
    with pytest.raises(ValueError, match="class 'eel' would have no image left of 20 at imbalance ratio 100"):
        long_tail(labels_of(30, 20, 40), "exponential", 100, 0, ["cat", "dog", "eel"])


def test_holdout__all_classes_that_are_too_small_are_named():
    labels = np.concatenate([np.zeros(20, int), np.arange(1, 31)])
    names = ["seal", *(f"whale{number:02}" for number in range(30))]
    message = (
        r"30 classes have too few distinct image.* for 3 splits: 'whale00' \(1\), 'whale01' \(1\), .* and 25 more: .*"
    )
    with pytest.raises(ValueError, match=message + "--data.val_fraction"):
        stratified_holdout(labels, [0.1, 0.1], 0, class_names=names)
    with pytest.raises(ValueError, match=r"30 classes .* for 2 folds: .*set a smaller --data.num_folds"):
        stratified_folds(labels, 2, 0, class_names=names)


def test_long_tail__all_classes_that_would_vanish_are_named():
    labels = np.repeat(np.arange(10), 5)
    with pytest.raises(
        ValueError, match=r"6 classes would have no image left of 5 .*\('4', .* and 1 more\): set a smaller"
    ):
        long_tail(labels, "exponential", 40, 0)


# by content


def sides(parts, count):
    """The number of the part that each sample lies in."""
    side = np.empty(count, int)
    for number, part in enumerate(parts):
        side[part] = number
    return side


def drawn(labels, keys, groups=None, seed=0):
    """The side and the fold of each sample."""
    holdouts = stratified_holdout(labels, [0.1, 0.2], seed, keys, groups=groups, by_content=True)
    return sides(holdouts, len(labels)), stratified_folds(labels, 5, seed, keys, groups=groups, by_content=True)


def keys_of(count, seed=0):
    return np.random.default_rng(seed).integers(-(2**63), 2**63 - 1, count)


@pytest.mark.parametrize("grouped", [False, True])
def test_by_content__the_order_of_samples_does_not_matter(grouped):
    labels, keys = labels_of(400, 300, 100), keys_of(800)
    # copies, some with other labels, and groups that copies join
    keys[5:800:50] = keys[0:795:50]
    groups = keys_of(160, 1)[np.arange(800) // 5] if grouped else None
    order = np.random.default_rng(1).permutation(800)
    before, after = drawn(labels, keys, groups), drawn(labels[order], keys[order], groups[order] if grouped else None)
    for one, other in zip(before, after, strict=True):
        assert (one[order] == other).all()
    assert (before[0] != drawn(labels, keys, groups, seed=1)[0]).mean() > 0.2


def test_by_content__growth_moves_few():
    labels, keys = np.random.default_rng(0).integers(0, 10, 5250), keys_of(5250)
    before, after = drawn(labels[:5000], keys[:5000]), drawn(labels, keys)
    moved = [(one != other[:5000]).mean() for one, other in zip(before, after, strict=True)]
    assert moved[0] < 0.01
    assert moved[1] < 0.02


def test_by_content__classes_keep_their_shares():
    labels, keys = labels_of(500, 303, 97), keys_of(900)
    side, folds = drawn(labels, keys)
    assert np.bincount(labels[side == 1]).tolist() == [50, 30, 10]
    assert np.bincount(labels[side == 2]).tolist() == [100, 61, 19]
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=5)
        assert counts.max() - counts.min() <= 1


def test_by_content__groups_stay_whole_and_where_they_are():
    number = np.random.default_rng(0).integers(0, 420, 5250)
    labels, groups, keys = number % 4, keys_of(420, 1)[number], keys_of(5250)
    side, folds = drawn(labels, keys, groups)
    for dealt in (side, folds):
        assert all(len(set(dealt[number == each])) == 1 for each in range(420))
    shares = np.stack([np.bincount(labels[side == part], minlength=4) / np.bincount(labels) for part in (1, 2)])
    assert shares == pytest.approx(np.repeat([[0.1], [0.2]], 4, axis=1), abs=0.02)
    for old in (number < 400, np.arange(5250) < 5000):
        before = drawn(labels[old], keys[old], groups[old])
        assert (before[0] != side[old]).mean() < 0.03
        assert (before[1] != folds[old]).mean() < 0.06


def test_by_content__subsets_and_long_tails():
    labels, keys = labels_of(100, 60), keys_of(160)
    order = np.random.default_rng(2).permutation(160)
    kept = stratified_subset(labels, 0.3, 0, keys)
    assert np.bincount(labels[kept]).tolist() == [30, 18]
    assert set(kept) < set(stratified_subset(labels, 0.6, 0, keys))
    assert set(order[stratified_subset(labels[order], 0.3, 0, keys[order])]) == set(kept)
    tail = long_tail(labels, "step", 10, 0, keys=keys)
    assert set(order[long_tail(labels[order], "step", 10, 0, keys=keys[order])]) == set(tail)


def test_by_content__is_the_same_on_every_machine():
    # written down once: a change here would silently mix the splits of old and new checkpoints
    side, folds = drawn(labels_of(12, 9), keys_of(21), seed=7)
    assert side.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 2, 0, 0, 0, 1, 0, 2, 0, 0, 2, 0]
    assert folds.tolist() == [2, 4, 2, 0, 1, 3, 0, 1, 3, 0, 1, 4, 3, 4, 1, 4, 0, 2, 3, 1, 2]
