import pytest
import torch
from torch import nn

from lightning_modules import MLP, SmallCNN
from lightning_modules.training.parameter_groups import build_optimizer, can_be_fused, learning_rates
from tests.helpers.data import data_info


def model(**options):
    return MLP(data_info=data_info(1, 4, 3), hidden=[8, 8], **options)


def adamw(groups):
    return torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)


def group_of(optimizer, parameter):
    found = [g for g in optimizer.param_groups if any(p is parameter for p in g["params"])]
    assert len(found) == 1
    return found[0]


def test_build_optimizer__norms_and_biases_are_not_decayed():
    net = model()
    optimizer = build_optimizer(adamw, net.learning_rates())
    for module in net.modules():
        if isinstance(module, nn.Linear):
            assert group_of(optimizer, module.weight)["weight_decay"] == 0.1
            assert group_of(optimizer, module.bias)["weight_decay"] == 0.0
        if isinstance(module, nn.BatchNorm1d):
            assert group_of(optimizer, module.weight)["weight_decay"] == 0.0
    assert len(optimizer.param_groups) == 2


def test_build_optimizer__can_decay_all():
    optimizer = build_optimizer(adamw, model().learning_rates(), decay_all=True)
    assert len(optimizer.param_groups) == 1
    assert optimizer.param_groups[0]["weight_decay"] == 0.1


def test_build_optimizer__without_decay_one_group_is_enough():
    optimizer = build_optimizer(lambda p: torch.optim.SGD(p, lr=0.1), model().learning_rates())
    assert len(optimizer.param_groups) == 1


def test_build_optimizer__holds_every_trainable_parameter_once():
    net = model()
    net.backbone.requires_grad_(False)
    optimizer = build_optimizer(adamw, net.learning_rates())
    held = [id(p) for g in optimizer.param_groups for p in g["params"]]
    assert sorted(held) == sorted(id(p) for p in net.head.parameters())


def test_learning_rates__backbone_factor():
    net = model(backbone_lr_factor=0.1)
    optimizer = build_optimizer(adamw, net.learning_rates())
    assert group_of(optimizer, net.head.weight)["lr"] == 0.01
    assert all(group_of(optimizer, p)["lr"] == pytest.approx(0.001) for p in net.backbone.parameters())
    assert {g["name"] for g in optimizer.param_groups} == {
        "head",
        "head, not decayed",
        "backbone",
        "backbone, not decayed",
    }


def test_learning_rates__layer_decay_slows_each_stage_further_from_the_head():
    net = SmallCNN(data_info=data_info(1, 16, 3))
    rates = learning_rates(net.backbone, net.head, net.stages(), layer_decay=0.5)
    weights = [p for p in net.backbone.parameters() if p.ndim > 1]
    assert [rates[p][1] for p in (*weights, net.head.weight)] == [0.125, 0.25, 0.5, 1.0]
    assert len(rates) == len(list(net.backbone.parameters())) + 2


@pytest.mark.parametrize("build", [adamw, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1)])
def test_build_optimizer__fused_steps_equal_the_plain_ones(build):
    torch.manual_seed(0)
    ours, plain = model(), model()
    plain.load_state_dict(ours.state_dict())
    fused = build_optimizer(build, ours.learning_rates())
    assert all(group["fused"] for group in fused.param_groups)
    decayed = {p for p in plain.parameters() if p.ndim > 1}
    reference = build(
        [
            {"params": [p for p in plain.parameters() if p in decayed]},
            {"params": [p for p in plain.parameters() if p not in decayed], "weight_decay": 0.0},
        ]
    )
    for step in range(5):
        for left, right in zip(ours.parameters(), plain.parameters(), strict=True):
            left.grad = torch.randn(left.shape, generator=torch.Generator().manual_seed(step))
            right.grad = left.grad.clone()
        fused.step()
        reference.step()
    for left, right in zip(ours.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(left, right, atol=1e-6)


def test_can_be_fused__what_the_user_chose_stands():
    for option in ({"fused": False}, {"foreach": True}):
        optimizer = build_optimizer(lambda p, o=option: torch.optim.AdamW(p, **o), model().learning_rates())
        assert not any(group["fused"] for group in optimizer.param_groups)


def test_can_be_fused__optimizers_without_a_fused_kernel():
    optimizer = build_optimizer(torch.optim.RMSprop, model().learning_rates())
    assert not can_be_fused(optimizer.param_groups[0])


def test_build_optimizer__of_timm():
    from timm.optim import Lamb

    optimizer = build_optimizer(lambda p: Lamb(p, lr=0.01, weight_decay=0.1), model().learning_rates())
    assert len(optimizer.param_groups) == 2
