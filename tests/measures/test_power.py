import numpy as np
import pytest
from scipy.stats import binom

from measures.power import smallest_visible_gain, typical_discordance


def seen(rng, units, discordant, gain, draws=2000):
    """How often a gain is seen: by the 95 % interval of the paired difference, and by McNemar's exact test."""
    share = max(discordant, gain)
    counts = rng.multinomial(units, [(share + gain) / 2, (share - gain) / 2, 1 - share], draws)
    wins, both = counts[:, 0], counts[:, 0] + counts[:, 1]
    value = (wins - counts[:, 1]) / units
    spread = np.sqrt((both / units - value**2) / units)
    by_mcnemar = (2 * binom.sf(wins - 1, both, 0.5) < 0.05) & (both > 0)
    return float((value - 1.96 * spread > 0).mean()), float(by_mcnemar.mean())


@pytest.mark.parametrize("units", [287, 1000, 10_000])
@pytest.mark.parametrize("discordant", [0.01, 0.05, 0.2])
def test_smallest_visible_gain__is_seen_in_four_of_five_cases(units, discordant):
    gain = smallest_visible_gain(units, discordant)
    rng = np.random.default_rng(units)
    by_interval, by_mcnemar = seen(rng, units, discordant, gain)
    assert by_mcnemar == pytest.approx(0.79, abs=0.035)
    # where models differ on a few samples, the interval sees more: it is narrower than chance alone would make it
    assert 0.77 < by_interval < (0.84 if units * discordant >= 40 else 0.97)
    # half of the gain is mostly missed, and what is not there is seen by chance alone
    assert seen(rng, units, max(discordant, gain), gain / 2)[1] < 0.45
    assert seen(rng, units, max(discordant, gain), 0.0)[1] < 0.04


def test_smallest_visible_gain__is_seen_by_the_bootstrap_too():
    rng = np.random.default_rng(0)
    units, discordant = 400, 0.1
    gain = smallest_visible_gain(units, discordant)
    shares = [(discordant + gain) / 2, (discordant - gain) / 2, 1 - discordant]
    drawn = [rng.multinomial(units, counts / units, 400) for counts in rng.multinomial(units, shares, 400)]
    found = np.mean([np.quantile(rows[:, 0] - rows[:, 1], 0.025) > 0 for rows in drawn])
    assert found == pytest.approx(0.8, abs=0.06)


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
