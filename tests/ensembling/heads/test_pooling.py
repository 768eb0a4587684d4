import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ensembling.heads.networks import WeightedMean
from ensembling.heads.pooling import GreedyHead, MeanHead, TunedMeanHead, VoteHead
from ensembling.heads.weights import greedy_weights, tuned_weights
from ensembling.logits import mean_logits
from tests.helpers.meta import meta_samples


def nll(weights, logits, labels):
    p = np.einsum("b,nbc->nc", weights, logits.double().softmax(2).numpy())
    return -np.log(p[np.arange(len(p)), labels.numpy()]).mean()


def test_mean_head__is_the_log_of_the_mean_probability():
    logits, labels = meta_samples()
    module = MeanHead().build(3, 4)
    MeanHead().solve(module, logits, labels)
    assert torch.allclose(module(logits), mean_logits(logits).float(), atol=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_tuned_weights__equal_those_of_slsqp(seed):
    logits, labels = meta_samples(bases=5, seed=seed)
    reference = minimize(
        nll,
        np.full(5, 0.2),
        (logits, labels),
        method="SLSQP",
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    ours = tuned_weights(logits, labels).numpy()
    assert ours.sum() == pytest.approx(1)
    assert (ours >= 0).all()
    assert nll(ours, logits, labels) <= reference.fun + 1e-8
    assert np.abs(ours - reference.x).max() < 1e-3


def test_tuned_weights__a_useless_member_gets_none():
    logits, labels = meta_samples(bases=2)
    wrong = torch.nn.functional.one_hot((labels + 1) % 4, 4).float()[:, None] * 50
    assert tuned_weights(torch.cat([wrong, logits], 1), labels)[0] == 0


def test_tuned_weights__equal_members_share():
    logits, labels = meta_samples(bases=1)
    assert torch.allclose(tuned_weights(logits.repeat(1, 4, 1), labels), torch.full((4,), 0.25, dtype=torch.float64))
    assert tuned_weights(logits, labels).tolist() == [1.0]


def test_tuned_weights__one_member_that_is_always_right():
    logits, labels = meta_samples()
    logits[:, 1] = torch.nn.functional.one_hot(labels, 4) * 40.0
    assert tuned_weights(logits, labels)[1] > 0.999


def naive_greedy(logits, labels, rounds, metric):
    p = logits.double().softmax(2).numpy()
    y, chosen, history = labels.numpy(), [], []
    for _ in range(rounds):
        scores = []
        for base in range(p.shape[1]):
            mean = p[:, [*chosen, base]].mean(1)
            right = mean[np.arange(len(y)), y]
            scores.append(-np.log(right).mean() if metric == "nll" else (mean.argmax(1) != y).mean())
        chosen.append(int(np.argmin(np.round(scores, 12))))
        history.append(min(scores))
    best = next(i for i, score in enumerate(history) if score <= min(history) + 1e-12)
    return np.bincount(chosen[: best + 1], minlength=p.shape[1]) / (best + 1)


@pytest.mark.parametrize("metric", ["nll", "accuracy"])
@pytest.mark.parametrize("seed", range(3))
def test_greedy_weights__equal_a_plain_loop(metric, seed):
    logits, labels = meta_samples(bases=5, seed=seed)
    assert np.allclose(greedy_weights(logits, labels, 25, metric), naive_greedy(logits, labels, 25, metric))


def test_greedy_head__puts_its_shares_in_the_module():
    logits, labels = meta_samples()
    module = GreedyHead(rounds=10).build(3, 4)
    GreedyHead(rounds=10).solve(module, logits, labels)
    assert torch.allclose(module.weight.double(), greedy_weights(logits, labels, 10, "nll"))


def test_greedy_head__impossible_rounds_are_named():
    with pytest.raises(ValueError, match="rounds must be at least 1"):
        GreedyHead(rounds=0)


@pytest.mark.parametrize("head", [TunedMeanHead(), GreedyHead(rounds=20)])
def test_heads__a_base_without_a_class(head):
    logits, labels = meta_samples()
    logits[:, 0, 2] = -torch.inf
    module = head.build(3, 4)
    head.solve(module, logits, labels)
    pooled = module(logits)
    assert pooled.isfinite().all()
    assert torch.allclose(pooled.exp().sum(1), torch.ones(len(pooled)), atol=1e-5)


def test_weighted_mean__of_one_sure_member_is_that_member():
    logits = torch.tensor([[[500.0, 0.0, -300.0]]])
    assert torch.allclose(WeightedMean(1)(logits)[0], logits[0, 0].log_softmax(0), rtol=1e-6)


def test_weighted_mean__a_member_without_weight_does_not_hide_the_others():
    module = WeightedMean(2)
    module.load_state_dict({"weight": torch.tensor([0.0, 1.0])})
    logits = torch.tensor([[[500.0, 0.0], [0.0, 80.0]]])
    assert module(logits)[0].tolist() == pytest.approx([-80.0, 0.0])
    impossible = torch.tensor([[[0.0, -torch.inf], [0.0, -torch.inf]]])
    assert module(impossible)[0].tolist() == [0.0, -1e4]


def voted(*members):
    """Pool members' probabilities of one image by their votes."""
    module = VoteHead().build(len(members), len(members[0]))
    with torch.no_grad():
        return module(torch.tensor([members]).log())[0].softmax(0)


def test_vote_head__probabilities_are_shares_of_the_votes():
    # the mean probability is highest for the last class
    shares = voted([0.5, 0.1, 0.4], [0.5, 0.1, 0.4], [0.0, 0.0, 1.0])
    assert torch.allclose(shares, torch.tensor([2 / 3, 0.0, 1 / 3]), atol=1e-5)


def test_vote_head__ties_go_to_the_highest_mean_probability():
    tied = voted([0.6, 0.3, 0.1], [0.0, 0.9, 0.1])
    assert tied.argmax() == 1
    assert torch.allclose(tied, torch.tensor([0.5, 0.5, 0.0]), atol=1e-3)
    # only among those with most votes
    assert voted([0.51, 0.0, 0.49], [0.0, 0.51, 0.49]).argmax() != 2
    # also where it is higher by very little
    assert voted([0.5 + 1e-5, 0.3, 0.2 - 1e-5], [0.3, 0.5, 0.2]).argmax() == 0
    assert voted([0.5, 0.3, 0.2], [0.3, 0.5 + 1e-5, 0.2 - 1e-5]).argmax() == 1


def test_vote_head__many_images_as_one_by_one():
    logits, _ = meta_samples(samples=200, bases=4)
    votes, mean = logits.argmax(2), logits.softmax(2).mean(1)
    counts = [torch.bincount(row, minlength=4) for row in votes]
    best = [max(range(4), key=lambda c: (int(n[c]), float(p[c]))) for n, p in zip(counts, mean, strict=True)]
    assert VoteHead().build(4, 4)(logits).argmax(1).tolist() == best
