import numpy as np
import pytest
import torch
from scipy.stats import t

from measures.intervals import accuracy_difference, mcnemar
from measures.power import smallest_visible_gain, typical_discordance


def right_of_counts(wins, losses, rest):
    """Two models of which each is alone right on so many samples, and both on the rest."""
    return np.repeat([True, False, True], [wins, losses, rest]), np.repeat([False, True, True], [wins, losses, rest])


def seen(units, discordant, gain, draws=800):
    """How often the 95 % interval of the report's paired difference is above 0."""
    rng = np.random.default_rng(units)
    share = max(discordant, gain)
    quantile = t.ppf(0.975, units - 1)
    found = 0
    for counts in rng.multinomial(units, [(share + gain) / 2, (share - gain) / 2, 1 - share], draws):
        middle, error = accuracy_difference(*right_of_counts(*counts), None)
        found += middle - quantile * error > 0
    return found / draws


@pytest.mark.parametrize("units", [30, 287, 2000])
@pytest.mark.parametrize("discordant", [0.01, 0.05, 0.2])
def test_smallest_visible_gain__is_seen_in_four_of_five_cases(units, discordant):
    gain = smallest_visible_gain(units, discordant)
    # more often where one model alone is right on a handful of samples, whose counts are coarse
    assert 0.74 <= seen(units, discordant, gain) <= (0.84 if units * discordant > 10 else 0.91)
    # half of the gain is mostly missed, and what is not there is seen by chance alone
    assert seen(units, max(discordant, gain), gain / 2) < 0.45
    assert seen(units, max(discordant, gain), 0.0) < 0.045


def test_smallest_visible_gain__is_seen_by_mcnemar_too():
    units, discordant = 400, 0.1
    gain = smallest_visible_gain(units, discordant)
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(units, [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant], 400)
    tested = [mcnemar(*map(torch.from_numpy, right_of_counts(*counts))) for counts in drawn]
    assert np.mean(np.array(tested) < 0.05) == pytest.approx(0.77, abs=0.06)


def test_smallest_visible_gain__falls_with_samples_and_with_agreement():
    assert smallest_visible_gain(1000, 0.05) < smallest_visible_gain(300, 0.05)
    assert smallest_visible_gain(1000, 0.02) < smallest_visible_gain(1000, 0.05)
    # half as many points for four times the samples
    assert smallest_visible_gain(4000, 0.2) == pytest.approx(smallest_visible_gain(1000, 0.2) / 2, rel=0.01)


@pytest.mark.parametrize("units", [6, 20, 100])
def test_smallest_visible_gain__is_at_most_one_and_no_less_than_chance_needs(units):
    gain = smallest_visible_gain(units, 0.001)
    assert gain is None or 0.001 < gain <= 1


def test_smallest_visible_gain__none_where_there_are_no_intervals():
    assert smallest_visible_gain(5, 0.1) is None


def test_typical_discordance__of_independent_errors():
    assert typical_discordance(0.9, 0.0) == pytest.approx(2 * 0.9 * 0.1)
    assert typical_discordance(0.9, 1.0) == pytest.approx(0.0, abs=1e-12)
