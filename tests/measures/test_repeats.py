import numpy as np
import pytest

from measures.repeats import corrected_interval, corrected_p, gain_over_repeats, holm

IMAGES, SEEDS, REST = 0.4, 0.02, 0.3


def draws(count, repeats=5, samples=200, seeds=SEEDS, groups=None):
    """Yield gains of .03 with components of known size."""
    rng = np.random.default_rng(0)
    unit = None if groups is None else np.arange(samples) % groups
    for _ in range(count):
        image = rng.standard_normal(samples if unit is None else groups)
        image = image if unit is None else image[unit]
        training = seeds * rng.standard_normal((repeats, 1))
        yield 0.03 + training + IMAGES * image + REST * rng.standard_normal((repeats, samples)), unit


def test_gain_over_repeats__components_are_those_that_were_planted():
    found = [gain_over_repeats(gains) for gains, _ in draws(1500)]
    assert np.mean([gain.value for gain in found]) == pytest.approx(0.03, abs=0.003)
    images = np.mean([gain.images**2 for gain in found])
    assert images == pytest.approx((IMAGES**2 + REST**2) / 200, rel=0.03)
    # the variance within a repeat would hide half of it, as the images are the same in all repeats
    assert np.mean([gain.seeds**2 for gain in found]) == pytest.approx(SEEDS**2, rel=0.25)
    covered = np.mean([gain.low <= 0.03 <= gain.high for gain in found])
    assert 0.935 <= covered <= 0.975


@pytest.mark.parametrize("repeats", [2, 5])
def test_gain_over_repeats__large_noise_of_seeds(repeats):
    found = [gain_over_repeats(gains) for gains, _ in draws(1000, repeats, seeds=0.2)]
    assert np.mean([gain.seeds**2 for gain in found]) == pytest.approx(0.04, rel=0.12)
    assert 0.92 <= np.mean([gain.low <= 0.03 <= gain.high for gain in found]) <= 0.98


def test_gain_over_repeats__without_noise_of_seeds():
    found = [gain_over_repeats(gains) for gains, _ in draws(1000, seeds=0.0)]
    # clipped at 0, so a little above it on average
    assert np.median([gain.seeds for gain in found]) < 0.01
    assert min(gain.seeds for gain in found) == 0
    assert 0.935 <= np.mean([gain.low <= 0.03 <= gain.high for gain in found]) <= 0.985


def test_gain_over_repeats__samples_of_a_group_count_together():
    found = [gain_over_repeats(gains, unit) for gains, unit in draws(800, groups=20)]
    assert np.mean([gain.images**2 for gain in found]) == pytest.approx(IMAGES**2 / 20 + REST**2 / 200, rel=0.05)
    assert 0.93 <= np.mean([gain.low <= 0.03 <= gain.high for gain in found]) <= 0.975


def test_gain_over_repeats__nothing_varies():
    gain = gain_over_repeats(np.full((3, 10), 0.5))
    assert (gain.value, gain.images, gain.seeds, gain.low, gain.high) == (0.5, 0, 0, 0.5, 0.5)
    few = gain_over_repeats(np.arange(8.0).reshape(2, 4))
    assert few.low is None


def test_corrected_interval__is_wider_than_that_of_independent_folds():
    gains = [0.01, 0.03, 0.02, 0.02, 0.02]
    low, high = corrected_interval(gains, 0.25)
    error = np.std(gains, ddof=1) / np.sqrt(5)
    assert (low + high) / 2 == pytest.approx(0.02)
    assert (high - low) / 2 == pytest.approx(2.7764 * error * 1.5, rel=1e-4)


def test_intervals__of_accuracy_end_where_no_gain_can_be():
    gains = np.array([[1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0], [-1.0, 0.0, -1.0, -1.0, 1.0, -1.0, -1.0, 0.0]])
    free, found = gain_over_repeats(gains), gain_over_repeats(gains, largest=1.0)
    assert free.low < -1 < 1 < free.high
    assert (found.low, found.high) == (-1.0, 1.0)
    assert (found.value, found.images, found.seeds) == (free.value, free.images, free.seeds)
    low, high = corrected_interval([-0.9, 0.9], 1.0)
    assert low < -1 < 1 < high
    assert corrected_interval([-0.9, 0.9], 1.0, 1.0) == (-1.0, 1.0)


def test_holm__equal_settings_are_rarely_told_from_the_best_of_them():
    rng, claims = np.random.default_rng(0), np.zeros(2)
    for _ in range(400):
        values = rng.standard_normal((10, 5))
        best = values.mean(1).argmax()
        found = [corrected_p(row - values[best], 0.0) for row in np.delete(values, best, 0)]
        claims += min(holm(found, 45)) < 0.05, min(found) < 0.05
    corrected, alone = claims / 400
    assert corrected <= 0.05
    assert alone >= 0.4


def test_holm__keeps_the_order_of_p_values():
    corrected = holm([0.001, 0.5, 0.02, 0.02])
    assert corrected == pytest.approx([0.004, 0.5, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9], 10) == [1.0]
