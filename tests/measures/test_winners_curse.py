import numpy as np
import pytest
from scipy.stats import norm

from measures.winners_curse import winners_curse


def equal_models(rng, models, samples, accuracy=0.95, shared=0.5):
    """Models of one accuracy, whose errors go together."""
    common, own = rng.standard_normal(samples), rng.standard_normal((models, samples))
    return np.sqrt(shared) * common + np.sqrt(1 - shared) * own < norm.ppf(accuracy)


@pytest.mark.parametrize("models", [2, 8, 20])
def test_winners_curse__is_what_the_best_of_equal_models_loses(models):
    rng = np.random.default_rng(models)
    found, lost = [], []
    for seed in range(60):
        right = equal_models(rng, models, 400)
        found.append(winners_curse(right, replicates=100, seed=seed))
        lost.append(right.mean(1).max() - 0.95)
    assert np.mean(found) == pytest.approx(np.mean(lost), abs=0.003)
    assert np.mean(lost) > 0.004


def test_winners_curse__a_clear_winner_loses_nothing():
    rng = np.random.default_rng(0)
    right = np.stack([rng.random(1000) < 0.95, rng.random(1000) < 0.5])
    assert winners_curse(right) < 0.002


def test_winners_curse__groups_are_drawn_whole():
    right = equal_models(np.random.default_rng(0), 8, 30)
    copies = np.repeat(right, 20, 1)
    single = winners_curse(copies)
    grouped = winners_curse(copies, np.repeat(np.arange(30), 20))
    assert grouped == pytest.approx(winners_curse(right), abs=1e-6)
    assert grouped > 2 * single


@pytest.mark.parametrize(("models", "samples", "unit"), [(1, 10, None), (2, 1, None), (2, 5, np.zeros(5, np.intp))])
def test_winners_curse__needs_a_choice_and_a_spread(models, samples, unit):
    assert winners_curse(np.ones((models, samples), bool), unit) is None
