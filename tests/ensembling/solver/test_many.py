import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from ensembling.folds import meta_folds
from ensembling.heads.fitting import LogisticHead, fit_head
from ensembling.solver import many, many_cv
from ensembling.solver.cv import fit_logistic_cv
from ensembling.solver.fit import Problem, fit_logistic
from tests.helpers.many_classes import many_classes


def objective(x, y, weight, bias, C):
    """Nats a sample."""
    weight = torch.as_tensor(weight)
    loss = cross_entropy(x.double() @ weight.T + torch.as_tensor(bias), y)
    return float(loss + 0.5 * weight.square().sum() / (C * len(y)))


def problem(samples, classes, **options):
    logits, y = many_classes(samples, 3, classes, **options)
    return logits.log_softmax(2).flatten(1), y


def check_against_scikit_learn(x, y, classes, C, near):
    # which lets the reference converge in good time
    x = (x - x.mean(0)) / x.std(0)
    reference = LogisticRegression(C=C, tol=1e-6, max_iter=2000).fit(x.double().numpy(), y.numpy())
    weight, bias = fit_logistic(x, y, classes, C)
    lowest = objective(x, y, reference.coef_, reference.intercept_, C)
    assert objective(x, y, weight, bias, C) <= lowest + 1e-6
    p = (x.double() @ weight.T + bias).softmax(1).numpy()
    assert np.abs(p - reference.predict_proba(x.double().numpy())).max() < near


@pytest.mark.parametrize("C", [1e-2, 1.0])
def test_fit_logistic__thirty_classes_are_scikit_learns(C):
    check_against_scikit_learn(*problem(800, 30), 30, C, 2e-2)


def test_fit_logistic__a_hundred_classes_are_scikit_learns():
    check_against_scikit_learn(*problem(1000, 100), 100, 1e-2, 2e-2)


@pytest.mark.parametrize("C", [1.0, 100.0, 1e4])
def test_fit_logistic__nearly_separate_classes_end_at_a_minimum(C):
    x, y = problem(1000, 30, skill=2.0, rank=24)
    assert float((x.view(-1, 3, 30).argmax(2) == y[:, None]).double().mean()) > 0.97
    weight, bias = (part.requires_grad_() for part in fit_logistic(x, y, 30, C))
    loss = cross_entropy(x.double() @ weight.T + bias, y) + 0.5 * weight.square().sum() / (C * len(y))
    loss.backward()
    # an L-BFGS of another library, from there on in double precision, finds next to nothing
    end = torch.optim.LBFGS([weight, bias], max_iter=300, tolerance_grad=0, line_search_fn="strong_wolfe")

    def closure():
        end.zero_grad()
        loss = cross_entropy(x.double() @ weight.T + bias, y) + 0.5 * weight.square().sum() / (C * len(y))
        loss.backward()
        return loss

    end.step(closure)
    assert float(loss.detach()) - float(closure().detach()) < 1e-6


def test_hessian__products_and_diagonal_are_torchs(monkeypatch):
    monkeypatch.setattr(many, "BLOCK", 1)
    x, y = problem(150, 4)
    monkeypatch.setattr("ensembling.solver.fit.LARGEST_HESSIAN", 0)
    of = Problem.of(x, y, 4)
    ridge = of.ridge([0.5], 100)[0]
    # held-out samples have no part in it
    part = of.many_classes(ridge, slice(40, 90))
    kept = torch.cat([torch.arange(40), torch.arange(90, 150)])
    features, labels = of.whitened.x[kept].double(), of.labels[kept]
    penalty = part.ridge.double()

    def reference(flat):
        w = flat.view(4, -1)
        return cross_entropy(features @ w.T, labels) + 0.5 * (w.square() * penalty).sum()

    w = part.padded(0.1 * torch.randn(4, part.width, generator=torch.Generator().manual_seed(0)))
    value, gradient, probabilities = part(w)
    flat = w.double().flatten().requires_grad_()
    expected = reference(flat)
    assert value == pytest.approx(float(expected.detach()), abs=1e-6)
    assert torch.allclose(gradient.flatten().double(), torch.autograd.grad(expected, flat)[0], atol=1e-6)
    hessian = torch.autograd.functional.hessian(reference, flat.detach())
    v = torch.randn_like(w)
    product = part.product(probabilities)(v).flatten().double()
    assert torch.allclose(product, hessian @ v.flatten().double(), atol=1e-5)
    assert torch.allclose(
        part.diagonal(probabilities).flatten().double(), hessian.diagonal().clamp(min=many.FLAT), atol=1e-6
    )


def test_fit_logistic_cv__scores_are_those_of_separate_fits():
    x, y = problem(450, 30)
    # a class that one fold alone has
    y = torch.where(y == 29, 28, y)
    y[:2] = 29
    folds, grid = meta_folds(y, 3, 0, lower=False), [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    folds[:2] = 0
    *_, C, scores = fit_logistic_cv(x, y, 30, grid, folds)
    tried = int(scores.isfinite().sum())
    # the best, and one that is worse
    assert grid.index(C) == tried - 2
    for number in range(tried):
        total = 0.0
        for fold in range(3):
            held = folds == fold
            weight, bias = fit_logistic(x[~held], y[~held], 30, grid[number])
            known = held & torch.isin(y, y[~held])
            total += float(cross_entropy(x[known].double() @ weight.T + bias, y[known], reduction="sum"))
        assert float(scores[number]) == pytest.approx(total / len(y), rel=2e-3)


def test_fit_logistic_cv__a_single_fold_where_all_would_take_long(monkeypatch):
    x, y = problem(600, 30)
    folds, grid, notes = meta_folds(y, 3, 0), [1e-4, 1e-3, 1e-2], []
    monkeypatch.setattr(many_cv, "ALL_FOLDS", 1e5)
    weight, bias, C, scores = fit_logistic_cv(x, y, 30, grid, folds, notes=notes)
    assert notes == ["C was chosen on one held-out fold, not on all: 600 samples of 30 classes are many"]
    held = folds == 0
    alone = fit_logistic(x[~held], y[~held], 30, C)
    nll = float(cross_entropy(x[held].double() @ alone[0].T + alone[1], y[held]))
    assert float(scores.min()) == pytest.approx(nll, rel=2e-3)
    assert objective(x, y, weight, bias, C) == pytest.approx(objective(x, y, *fit_logistic(x, y, 30, C), C), abs=1e-6)


def test_logistic_head__minus_infinity_and_absent_classes_of_many(monkeypatch):
    logits, y = many_classes(400, 3, 40)
    y = y % 35
    logits[:, 0, 37] = -torch.inf
    module = fit_head(LogisticHead(features="log_probabilities", C_count=2, C_max=1e-2, folds=2), logits, y, 40)
    with torch.no_grad():
        p = module(logits).softmax(1)
    assert p.isfinite().all()
    assert float(p[:, 35:].max()) < 1e-9
    assert module.notes == []


def test_minimise_many__products_of_half_precision_end_at_the_same_minimum():
    x, y = problem(1000, 30)
    of = Problem.of(x, y, 30)
    ridge = of.ridge([1.0], len(y))[0]
    ends = {}
    for kind in (torch.float32, torch.bfloat16):
        part = many.ManyClasses(of.whitened.x, of.labels, 30, ridge, kind=kind)
        solution, converged = many.minimise_many(part, part.start(), many.TOLERANCE, 1000)
        assert converged
        ends[kind] = part(part.padded(solution.float()))[0]
    assert abs(ends[torch.bfloat16] - ends[torch.float32]) < many.TOLERANCE


def test_half_is_faster__is_asked_of_the_processor(monkeypatch):
    for capabilities, expected in (({"amx_bf16": True}, True), ({"avx512_bf16": True}, False)):
        many.half_is_faster.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=capabilities: known, raising=False)
        assert many.half_is_faster() is expected
    many.half_is_faster.cache_clear()
