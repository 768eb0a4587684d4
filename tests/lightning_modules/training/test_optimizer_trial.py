from functools import partial

import pytest
import torch
from torch import nn

from common.ranges import OptionError
from lightning_modules.training.optimizer_trial import described, stand_ins
from lightning_modules.training.parameter_groups import build_optimizer


def instantiate(kind, *args, **options):
    return kind(*args, **options)


def rates(dtype=torch.float32):
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(8, 3)).to(dtype)
    return dict.fromkeys(network.parameters(), ("model", 1.0))


def built(kind, dtype=torch.float32, **options):
    """As the command line builds it: by a partial function of the class and its options."""
    return build_optimizer(partial(instantiate, kind, **options), rates(dtype))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (torch.optim.AdamW, {}),
        (torch.optim.AdamW, {"foreach": True, "weight_decay": 0.0}),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True}),
        (torch.optim.LBFGS, {"line_search_fn": "strong_wolfe"}),
        (torch.optim.Rprop, {}),
        (torch.optim.Adafactor, {}),
    ],
)
def test_build_optimizer__takes_what_works(kind, options):
    assert type(built(kind, **options)) is kind


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (torch.optim.AdamW, {"lr": -1.0}, "--model.optimizer.lr -1.0 cannot work: Invalid learning rate"),
        (torch.optim.AdamW, {"lr": float("nan")}, "--model.optimizer.lr must be finite, not nan"),
        (torch.optim.SGD, {"momentum": float("inf")}, "--model.optimizer.momentum must be finite, not inf"),
        (torch.optim.AdamW, {"lr": 0.1, "betas": (2.0, 0.9)}, r"--model.optimizer.betas \[2.0, 0.9\] cannot work"),
        (torch.optim.AdamW, {"capturable": True}, "--model.optimizer.capturable true cannot work"),
        (torch.optim.Adam, {"differentiable": True}, "--model.optimizer.differentiable true cannot work"),
        (torch.optim.AdamW, {"fused": True, "foreach": True}, "--model.optimizer.f.* true cannot work"),
        (torch.optim.SGD, {"nesterov": True}, "--model.optimizer.nesterov true cannot work"),
        (torch.optim.LBFGS, {"line_search_fn": "x"}, '--model.optimizer.line_search_fn "x" cannot work'),
        (torch.optim.SparseAdam, {}, "--model.optimizer SparseAdam cannot train this model here: SparseAdam does not"),
        (torch.optim.Muon, {}, "--model.optimizer Muon cannot train this model here: Muon only supports 2D"),
    ],
)
def test_build_optimizer__names_the_option_of_what_cannot_work(kind, options, message):
    with pytest.raises(OptionError, match=f"^{message}"):
        built(kind, **options)


def test_build_optimizer__a_half_that_divides_by_zero():
    with pytest.raises(OptionError, match="eps 1e-08 is 0 in torch.float16 .*--model.optimizer.eps 1e-4"):
        built(torch.optim.Adam, torch.float16, foreach=True)
    assert built(torch.optim.Adam, torch.float16, foreach=True, eps=1e-4)


def test_build_optimizer__the_trial_changes_nothing():
    given = rates()
    before = [parameter.detach().clone() for parameter in given]
    state = torch.get_rng_state()
    optimizer = build_optimizer(torch.optim.AdamW, given)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(old, new) for old, new in zip(before, given, strict=True))
    assert all(parameter.grad is None for parameter in given)
    assert not optimizer.state


def test_stand_ins__one_of_each_kind():
    given = rates()
    next(iter(given)).requires_grad_(False)
    kinds = sorted(tuple(parameter.shape) for parameter in stand_ins(given))
    assert kinds == [(2,), (2, 2)]


def test_described__a_class_and_a_function_of_the_user():
    assert described(torch.optim.SGD)[:2] == ("SGD", {})
    assert described(lambda groups: torch.optim.SGD(groups, lr=1))[1:] == ({}, {})
    name, options, defaults = described(partial(partial(instantiate, torch.optim.SGD, lr=1), momentum=0.5))
    assert (name, options, defaults["momentum"]) == ("SGD", {"lr": 1, "momentum": 0.5}, 0)
