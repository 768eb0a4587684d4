import numpy as np
import pytest

from measures.scaling import power_law


def test_power_law__intervals_cover_what_was_planted():
    rng = np.random.default_rng(0)
    samples = np.repeat([200, 500, 1000, 2000], 3)
    covered = []
    for _ in range(1000):
        errors = 0.8 * samples**-0.3 * np.exp(0.05 * rng.standard_normal(len(samples)))
        law = power_law(samples, errors)
        covered.append((law.low <= 0.3 <= law.high, law.twice_low <= 0.8 * 4000**-0.3 <= law.twice_high))
    assert law.samples == pytest.approx(2000)
    assert np.mean(covered, axis=0) == pytest.approx([0.95, 0.95], abs=0.02)


def test_power_law__of_too_little():
    assert power_law([100, 100, 200], [0.3, 0.2, 0.1]) is None
    assert power_law([100, 200, 400], [0.3, 0.2, 0.0]) is None
