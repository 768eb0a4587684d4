import numpy as np
import pytest

from pipelines.tune.range_test import RangeTest

RATES = np.logspace(-6, 1, 100)


def steep(noise=0.0, seed=0, own=None):
    """A loss that falls fastest at 1e-3, and rises from 1e-1 on."""
    return observed(2 - 1.5 / (1 + (1e-3 / RATES) ** 1.5) + (RATES / 0.3) ** 2, noise, seed, own)


def flat(noise, seed=0, own=3e-3):
    """A loss that falls up to 3e-4, stays as low up to 2e-2, and rises: it falls fastest at 8e-5."""
    return observed(0.55 + 0.84 / (1 + (RATES / 8e-5) ** 2) + 0.3 * (RATES / 4e-2) ** 2, noise, seed, own)


def nothing(noise, seed=0, own=3e-3):
    """The loss of a guess among four classes, which never falls."""
    return observed(np.log(4) + (RATES / 0.3) ** 2, noise, seed, own)


def observed(losses, noise, seed, own):
    noisy = losses + noise * np.random.default_rng(seed).standard_normal(len(losses))
    return RangeTest(RATES.tolist(), noisy.tolist(), own)


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.05])
def test_suggestion__where_the_loss_falls_fastest(noise):
    for seed in range(20):
        assert 5e-4 < steep(noise, seed).suggestion().rate < 2e-3


def test_suggestion__the_optimizers_own_rate_where_it_is_as_steep_but_for_noise():
    found = steep(0.05, own=1.1e-3).suggestion()
    assert found.alike[0] < 1.1e-3 < found.alike[1]
    assert found.rate == 1.1e-3
    # and not one that is much too high or low
    assert steep(0.05, own=1e-5).suggestion().rate > 5e-4
    assert steep(0.05, own=1.0).suggestion().rate < 2e-3


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.15])
def test_suggestion__a_flat_curve_keeps_the_optimizers_own_rate(noise):
    for seed in range(20):
        found = flat(noise, seed).suggestion()
        assert found.rate == 3e-3
        assert found.reason.startswith("the loss is flat from ")
        assert found.reason.endswith(": the optimizer's own is kept")
        assert 5e-5 < found.alike[0] < 6e-4
        assert 1e-2 < found.alike[1] < 5e-2


@pytest.mark.parametrize(("own", "least", "most"), [(None, 1e-3, 4e-3), (1e-5, 1.5e-4, 6e-4), (1.0, 3e-3, 1.5e-2)])
def test_suggestion__a_flat_curve_without_the_optimizers_own_rate(own, least, most):
    for seed in range(20):
        found = flat(0.08, seed, own).suggestion()
        assert least < found.rate < most
        assert found.reason.endswith("the middle of these" if own is None else f"the optimizer's own, {own:.3g}")


@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_suggestion__a_curve_without_a_fall_changes_no_rate(noise):
    found = [nothing(noise, seed).suggestion() for seed in range(40)]
    assert {each.rate for each in found} <= {None, 3e-3}
    assert sum(each.rate is None for each in found) >= 36
    assert found[0].reason == "the loss does not fall; the optimizer's own, 0.003, is kept"


def test_suggestion__none_if_the_loss_does_not_fall():
    rates = RATES.tolist()
    assert RangeTest(rates, [2.0] * 100).suggestion().rate is None
    assert RangeTest(rates, [2.0 + step for step in range(100)]).suggestion().rate is None
    few = RangeTest(rates[:2], [2.0, 1.0]).suggestion()
    assert few.rate is None
    assert few.reason == "the loss was not finite from the start"


def test_noise__is_that_of_the_steps_whatever_the_curve():
    found = [steep(0.05, seed).noise for seed in range(30)]
    assert np.mean(found) == pytest.approx(0.05, rel=0.1)
    assert steep().noise < 0.005
