import pytest
import torch
from torch.nn.functional import cross_entropy

from ensembling.solver import objective as logistic_objective
from ensembling.solver.fit import Problem
from ensembling.solver.minimise import factorise
from ensembling.solver.objective import BLOCK, STRIP, Objective


def problem(samples=400, features=5, classes=4):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, features, generator=generator, dtype=torch.float64)
    return Problem.of(x, torch.arange(samples) % classes, classes)


def reference(of, flat):
    """The mean cross-entropy by torch, of one problem's parameters."""
    width = len(of.whitened.penalty)
    return cross_entropy(of.whitened.x[:, :width] @ flat.view(-1, width).T, of.labels)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("strip", [STRIP, 7])
def test_hessian__is_torchs(classes, strip, monkeypatch):
    monkeypatch.setattr(logistic_objective, "STRIP", strip)
    of = problem(classes=classes)
    flat = torch.randn(classes * 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = torch.autograd.functional.hessian(lambda w: reference(of, w), flat)
    objective = of.objective(of.ridge([1.0], 400))
    assert torch.allclose(objective.hessian(flat, torch.float64), expected, atol=1e-12)
    assert torch.allclose(objective.hessian(flat).double(), expected, atol=1e-6)


def test_hessian__of_few_samples_is_near(monkeypatch):
    of = problem(samples=4000)
    flat = torch.randn(24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    objective = of.objective(of.ridge([1.0], 4000))
    monkeypatch.setattr(logistic_objective, "LEAST_SAMPLES", 4000)
    exact = objective.hessian(flat, torch.float64)
    monkeypatch.setattr(logistic_objective, "LEAST_SAMPLES", 1000)
    drawn = [objective.hessian(flat, torch.float64, seed) for seed in range(60)]
    off = [float((one - exact).norm() / exact.norm()) for one in drawn]
    assert 0.01 < sum(off) / 60 < 0.15
    # the mean of many draws tends to the Hessian of all
    assert float((torch.stack(drawn).mean(0) - exact).norm() / exact.norm()) < 0.2 * sum(off) / 60


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("block", [BLOCK, 1])
def test_objective__value_and_gradient_are_torchs(threads, block, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(logistic_objective, "BLOCK", block)
    of = problem()
    ridge = of.ridge([0.1, 10.0], 400)
    flat = torch.randn(2, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    expected = torch.stack(
        [reference(of, w) + 0.5 * (w.view(-1, 6).square() * r).sum() for w, r in zip(flat, ridge, strict=True)]
    )
    (slope,) = torch.autograd.grad(expected.sum(), flat)
    # two pieces, both of a size that neither blocks nor threads divide
    x = of.whitened.x
    objective = Objective([x[:151], x[151:]], 4, ridge, of.sums)
    value, gradient, _ = objective(flat.detach(), torch.arange(2))
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(gradient, slope, atol=1e-12)


def test_factorise__mends_what_is_slightly_indefinite_and_refuses_what_is_not_finite():
    ridge = torch.full((2,), 1e-12)
    hessian = torch.diag(torch.tensor([1.0, -1e-9, 1.0, 1.0]))
    factor = factorise(hessian, ridge, 2)
    assert torch.allclose(factor @ factor.T, hessian + 0.25 * torch.eye(2).repeat(2, 2), atol=1e-5)
    with pytest.raises(ValueError, match="not finite"):
        factorise(torch.full((4, 4), torch.nan), ridge, 2)
