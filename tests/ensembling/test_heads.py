import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ensembling.heads import LogisticHead, MLPHead, fit_logistic
from tests.helpers.families import count


def problem(samples=300, features=9, num_classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(samples) % num_classes
    x = torch.randn(samples, features, generator=generator) * torch.logspace(-1, 1, features)
    x[:, :num_classes] += torch.nn.functional.one_hot(labels, num_classes) * 0.7
    return x + 3, labels


def probabilities(x, weight, bias):
    return (x.double() @ weight.T + bias).softmax(1).numpy()


@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_fit_logistic__equals_scikit_learn(C):
    x, y = problem()
    reference = LogisticRegression(C=C, tol=1e-10, max_iter=100_000).fit(x.double().numpy(), y.numpy())
    ours = probabilities(x, *fit_logistic(x, y, 4, C))
    assert np.abs(ours - reference.predict_proba(x.double().numpy())).max() < 1e-4


def test_fit_logistic__is_a_stationary_point():
    x, y = problem(seed=1)
    weight, bias = (t.requires_grad_() for t in fit_logistic(x, y, 4, 2.0))
    loss = 2.0 * torch.nn.functional.cross_entropy(x.double() @ weight.T + bias, y, reduction="sum")
    (loss + 0.5 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-3
    assert bias.grad.abs().max() < 1e-3


def test_fit_logistic__constant_features_do_no_harm():
    x, y = problem()
    constant = torch.cat([x, torch.full((len(x), 1), 5.0), torch.zeros(len(x), 1)], 1)
    weight, bias = fit_logistic(constant, y, 4, 1.0)
    assert np.abs(probabilities(constant, weight, bias) - probabilities(x, *fit_logistic(x, y, 4, 1.0))).max() < 1e-5


def test_fit_logistic__an_absent_class_gets_no_probability():
    x, y = problem(num_classes=3)
    p = probabilities(x, *fit_logistic(x, y, 4, 1.0))
    assert np.isfinite(p).all()
    assert p[:, 3].max() < 1e-3


def test_fit_logistic__separable_classes_stay_finite():
    y = torch.arange(60) % 3
    weight, _ = fit_logistic(torch.nn.functional.one_hot(y, 3).float() * 20, y, 3, 1.0)
    assert weight.isfinite().all()


def test_fit_logistic__too_few_iterations_are_an_error():
    with pytest.raises(ValueError, match="raise max_iterations"):
        fit_logistic(*problem(), 4, 1.0, max_iterations=2)


def test_mlp_head__parameters():
    assert count(MLPHead(hidden=[128, 128], dropout=0.3).build(3, 10)) == 21_770


def test_mlp_head__is_not_solved():
    head = MLPHead()
    with pytest.raises(TypeError, match="trained in epochs"):
        head.solve(head.build(2, 2), torch.zeros(1, 2, 2), torch.zeros(1, dtype=torch.int64))


@pytest.mark.parametrize(
    ("head", "options"),
    [(LogisticHead, {"C": 0.0}), (LogisticHead, {"max_iterations": 0}), (MLPHead, {"dropout": 1.0})],
)
def test_heads__impossible_options_are_named(head, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        head(**options)
