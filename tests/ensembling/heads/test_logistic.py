import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from ensembling.folds import meta_folds
from ensembling.heads.fitting import LogisticHead, fit_head
from ensembling.solver import fit
from ensembling.solver.cv import fit_logistic_cv
from ensembling.solver.fit import fit_logistic
from ensembling.solver.objective import Objective
from tests.helpers.meta import meta_samples


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


def objective(x, y, weight, bias, C):
    logits = x.double() @ torch.as_tensor(weight).T + torch.as_tensor(bias)
    loss = torch.nn.functional.cross_entropy(logits, y, reduction="sum")
    return float(C * loss + 0.5 * torch.as_tensor(weight).square().sum())


@pytest.mark.parametrize("C", [1e-3, 1.0, 1e3])
def test_fit_logistic__objective_and_coefficients_are_scikit_learns(C):
    x, y = problem(samples=600, seed=2)
    reference = LogisticRegression(C=C, tol=1e-10, solver="newton-cholesky").fit(x.double().numpy(), y.numpy())
    weight, bias = fit_logistic(x, y, 4, C)
    assert objective(x, y, weight, bias, C) == pytest.approx(
        objective(x, y, reference.coef_, reference.intercept_, C), rel=1e-8
    )
    assert np.abs(weight.numpy() - reference.coef_).max() < 1e-3 * max(1, np.abs(reference.coef_).max())
    assert np.ptp(bias.numpy() - reference.intercept_) < 1e-2


def test_fit_logistic__collinear_features():
    x, y = problem()
    doubled = torch.cat([x, x[:, :2], x[:, :1] - x[:, 1:2]], 1)
    reference = LogisticRegression(C=1.0, tol=1e-10, max_iter=100_000).fit(doubled.double().numpy(), y.numpy())
    weight, bias = fit_logistic(doubled, y, 4, 1.0)
    assert objective(doubled, y, weight, bias, 1.0) == pytest.approx(
        objective(doubled, y, reference.coef_, reference.intercept_, 1.0), rel=1e-8
    )


def test_fit_logistic_cv__without_hessians(monkeypatch):
    monkeypatch.setattr("ensembling.solver.fit.LARGEST_HESSIAN", 0)
    x, y = problem()
    grid, folds = [0.01, 0.1, 1.0], meta_folds(y, 3, 0)
    *_, chosen, scores = fit_logistic_cv(x, y, 4, grid, folds)
    monkeypatch.undo()
    *_, expected, expected_scores = fit_logistic_cv(x, y, 4, grid, folds)
    assert chosen == expected
    # none is tried after the NLL has risen
    tried = scores.isfinite()
    assert torch.allclose(scores[tried], expected_scores[tried], rtol=1e-3)
    assert int(tried.sum()) == len(grid) or scores[tried][-1] > scores.min()


def test_fit_logistic__a_single_class():
    weight, bias = fit_logistic(torch.randn(10, 3), torch.ones(10).long(), 3, 1.0)
    assert not weight.any()
    assert bias.tolist() == [-30.0, 0.0, -30.0]


def test_fit_logistic__features_that_are_not_finite():
    with pytest.raises(ValueError, match="must be finite"):
        fit_logistic(torch.full((4, 2), torch.nan), torch.arange(4) % 2, 2, 1.0)


@pytest.mark.parametrize("grid", [[1e-3, 0.1, 10.0], [1e-3, 0.1, 0.10001, 10.0, 10.001]])
@pytest.mark.parametrize("rare", [0, 1, 3])
@pytest.mark.parametrize("large", [fit.LARGE, 100])
def test_fit_logistic_cv__scores_are_those_of_separate_fits(rare, grid, large, monkeypatch):
    # many samples are worked on in single precision
    monkeypatch.setattr(fit, "LARGE", large)
    x, y = problem(samples=400)
    # a class of few samples, perhaps in one fold only
    kept = (y < 3) | (torch.arange(400) < 4 * rare)
    x, y = x[kept], y[kept]
    folds = meta_folds(y, 4, 0, lower=False)
    scores = torch.zeros(len(grid), dtype=torch.float64)
    for fold in range(4):
        held = folds == fold
        known = held & torch.isin(y, y[~held])
        for number, C in enumerate(grid):
            weight, bias = fit_logistic(x[~held], y[~held], 4, C)
            scores[number] += torch.nn.functional.cross_entropy(
                x[known].double() @ weight.T + bias, y[known], reduction="sum"
            )
    weight, bias, C, ours = fit_logistic_cv(x, y, 4, grid[::-1], folds)
    # loose, because the objective of each solution is within 1e-7 of the minimum only
    assert torch.allclose(ours, scores / len(y), rtol=2e-3)
    # one of two that are nearly the same is as good as the other
    assert scores[grid.index(C)] <= scores.min() * (1 + 2e-3)
    alone = fit_logistic(x, y, 4, C)
    assert objective(x, y, weight, bias, C) == pytest.approx(objective(x, y, *alone, C), rel=1e-8)


def test_fit_logistic_cv__separable_classes_take_about_one_hessian_a_fit(monkeypatch):
    # without a penalty the weights would grow for ever: those of a fold are far from those of all samples
    x, y = problem(samples=120)
    y[:6] = y[:6].roll(1)
    x = torch.cat([x, x.square(), x**3], 1)
    folds, grid, taken = meta_folds(y, 4, 0), [10.0**power for power in range(-4, 5)], []
    scores = torch.zeros(len(grid), dtype=torch.float64)
    for fold in range(4):
        held = folds == fold
        for number, C in enumerate(grid):
            weight, bias = fit_logistic(x[~held], y[~held], 4, C)
            logits = x[held].double() @ weight.T + bias
            scores[number] += torch.nn.functional.cross_entropy(logits, y[held], reduction="sum")
    hessian = Objective.hessian
    monkeypatch.setattr(Objective, "hessian", lambda *args: taken.append(1) or hessian(*args))
    *_, ours = fit_logistic_cv(x, y, 4, grid, folds)
    assert torch.allclose(ours, scores / len(y), rtol=2e-3)
    # 9 for all samples, 36 for those without a fold, and some twice
    assert len(taken) < 75


@pytest.mark.parametrize("cv", [False, True])
@pytest.mark.parametrize("hessian", [0, 2000])
def test_fit_logistic_cv__a_penalty_that_does_not_converge_is_left_out(cv, hessian, monkeypatch):
    monkeypatch.setattr("ensembling.solver.fit.LARGEST_HESSIAN", hessian)
    x, y = problem(samples=120)
    x = torch.cat([x, x.square(), x**3], 1)
    grid, notes = [1e-4, 1e6], []
    if cv:
        weight, _, C, scores = fit_logistic_cv(x, y, 4, grid, meta_folds(y, 3, 0), 20 if hessian else 50, notes)
        assert C == 1e-4
        assert scores[0].isfinite()
        assert scores[1].isinf()
        assert weight.isfinite().all()
        assert len(notes) == 1
        assert "C = 1e+06" in notes[0]
        assert "raise max_iterations" in notes[0]
    else:
        with pytest.raises(ValueError, match="did not converge in 2 iterations"):
            fit_logistic_cv(x, y, 4, grid, meta_folds(y, 3, 0), 2, notes)


def test_logistic_head__keeps_the_chosen_c():
    logits, labels = meta_samples()
    module = fit_head(LogisticHead(C_min=0.01, C_max=1.0, C_count=3), logits, labels, 4)
    assert min(abs(module.C - C) for C in (0.01, 0.1, 1.0)) < 1e-9
    # kept with the weights, and not missed where it was not
    again = LogisticHead().build(logits.shape[1], 4)
    again.load_state_dict(module.state_dict())
    assert again.C == module.C
    again.load_state_dict({name: module.state_dict()[name] for name in ("weight", "bias")})
    fixed = fit_head(LogisticHead(C=float(module.C)), logits, labels, 4)
    assert torch.allclose(module.weight, fixed.weight, atol=1e-4)
