from itertools import pairwise

import pytest
import torch
from torch.optim import lr_scheduler

from lightning_modules import SmallCNN
from lightning_modules.training.schedules import Constant, OneCycle, Plateau, StepDecay, WarmRestarts, WarmupCosine
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def sgd(*rates):
    return torch.optim.SGD([{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates])


def rates(schedule, steps, optimizer=None):
    optimizer = optimizer or sgd(2.0)
    return stepped(schedule.build(optimizer, steps)["scheduler"], steps)


def stepped(scheduler, steps):
    seen = []
    for _ in range(steps):
        seen.append(scheduler.optimizer.param_groups[0]["lr"])
        scheduler.optimizer.step()
        scheduler.step()
    return seen


def test_warmup_cosine__rises_then_falls():
    seen = rates(WarmupCosine(warmup=0.2, final=0.1), 50)
    assert seen[0] == pytest.approx(0.2)
    assert seen[9] == seen[10] == pytest.approx(2.0)
    assert all(a > b for a, b in pairwise(seen[10:]))
    assert seen[-1] == pytest.approx(0.2, rel=0.05)


def test_warmup_cosine__without_warmup_equals_torchs():
    reference = lr_scheduler.CosineAnnealingLR(sgd(2.0), 30)
    assert rates(WarmupCosine(warmup=0.0), 30) == pytest.approx(stepped(reference, 30))


@pytest.mark.parametrize("growth", [1, 2])
def test_warm_restarts__equal_torchs(growth):
    reference = lr_scheduler.CosineAnnealingWarmRestarts(sgd(2.0), T_0=10, T_mult=growth)
    steps = 10 + 10 * growth + 10 * growth**2
    seen = rates(WarmRestarts(warmup=0.0, cycles=3, growth=float(growth)), steps)
    assert seen == pytest.approx(stepped(reference, steps))


@pytest.mark.parametrize("steps", [20, 50, 333])
def test_one_cycle__equals_torchs(steps):
    reference = lr_scheduler.OneCycleLR(sgd(2.0), 2.0, total_steps=steps, cycle_momentum=False)
    # the last rate torch gives is that of the last step
    assert rates(OneCycle(), steps)[:-1] == pytest.approx(stepped_short(reference, steps), rel=1e-6)


def stepped_short(scheduler, steps):
    return stepped(scheduler, steps - 1)


def test_step_decay__equals_torchs():
    reference = lr_scheduler.MultiStepLR(sgd(2.0), [20, 30], gamma=0.1)
    assert rates(StepDecay(warmup=0.0, milestones=(0.5, 0.75)), 40) == pytest.approx(stepped(reference, 40))


def test_step_decay__milestones_are_shares_of_the_whole_run():
    seen = rates(StepDecay(warmup=0.1, milestones=(0.5,), drop=0.5), 40)
    assert seen[19] == pytest.approx(2.0)
    assert seen[20] == pytest.approx(1.0)


def test_constant__warms_up_and_stays():
    seen = rates(Constant(warmup=0.1), 40)
    assert seen[:5] == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0])
    assert set(seen[4:]) == {2.0}


def test_plateau__drops_when_the_metric_no_longer_improves():
    optimizer = sgd(2.0)
    built = Plateau(monitor="val/loss", patience=1, drop=0.5).build(optimizer, 0)
    assert built["monitor"] == "val/loss"
    for value, expected in ((1.0, 2.0), (0.5, 2.0), (0.6, 2.0), (0.7, 1.0)):
        built["scheduler"].step(value)
        assert optimizer.param_groups[0]["lr"] == expected


def test_schedule__each_group_keeps_its_own_rate():
    optimizer = sgd(2.0, 0.5)
    rates(WarmupCosine(warmup=0.2), 5, optimizer)
    scheduler = WarmupCosine(warmup=0.0).build(sgd(2.0, 0.5), 10)["scheduler"]
    for _ in range(5):
        scheduler.optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in scheduler.optimizer.param_groups] == pytest.approx([1.0, 0.25])


def test_schedule__leaves_groups_alone_that_are_added_later():
    optimizer = sgd(2.0)
    scheduler = WarmupCosine(warmup=0.0).build(optimizer, 10)["scheduler"]
    optimizer.step()
    scheduler.step()
    optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))], "lr": 0.1})
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[1]["lr"] == 0.1
    assert optimizer.param_groups[0]["lr"] < 2.0


@pytest.mark.parametrize("schedule", [WarmupCosine(), OneCycle(), StepDecay(), WarmRestarts(), Constant()])
def test_schedule__goes_on_from_a_saved_state(schedule):
    whole = rates(schedule, 20)
    first = schedule.build(sgd(2.0), 20)["scheduler"]
    stepped(first, 8)
    second = schedule.build(sgd(2.0), 20)["scheduler"]
    second.optimizer.load_state_dict(first.optimizer.state_dict())
    second.load_state_dict(first.state_dict())
    assert stepped(second, 12) == whole[8:]


@pytest.mark.parametrize(
    ("schedule", "options"),
    [
        (WarmupCosine, {"warmup": 1.0}),
        (WarmupCosine, {"warmup": -0.1}),
        (WarmupCosine, {"final": 2.0}),
        (WarmRestarts, {"cycles": 0}),
        (WarmRestarts, {"growth": 0.0}),
        (OneCycle, {"rise": 0.0}),
        (OneCycle, {"start": -1.0}),
        (StepDecay, {"milestones": (0.7, 0.5)}),
        (StepDecay, {"milestones": (1.0,)}),
        (Plateau, {"drop": 1.0}),
        (Plateau, {"monitor": "val/acuracy"}),
        (Plateau, {"patience": -1}),
    ],
)
def test_schedule__impossible_options(schedule, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        schedule(**options)


@pytest.mark.parametrize("growth", [1e-300, 0.5, 1.0, 2.0, 1e300])
def test_warm_restarts__of_any_growth_stay_in_bounds(growth):
    schedule = WarmRestarts(warmup=0.0, cycles=900, growth=growth)
    assert all(0 <= schedule.factor(step, 50) <= 1 for step in range(51))


def test_by_time__the_end_comes_with_the_time_or_with_the_last_step():
    hours = iter([0.0, 0.1, 0.55, 1.0, 2.0])
    built = WarmupCosine(warmup=0.1, by_time=True).build(sgd(2.0), 1000, lambda: next(hours))
    seen = stepped(built["scheduler"], 4)
    assert seen == pytest.approx([2.0 / 1000, 2.0, 1.0, 0.0], abs=1e-6)
    # there is time left
    by_steps = WarmupCosine(warmup=0.1).build(sgd(2.0), 50)["scheduler"]
    patient = WarmupCosine(warmup=0.1, by_time=True).build(sgd(2.0), 50, lambda: 0.0)["scheduler"]
    assert stepped(patient, 50)[5:] == pytest.approx(stepped(by_steps, 50)[5:])


def test_by_time__needs_a_limit(tmp_path):
    data = Blobs()
    schedule = WarmupCosine(by_time=True)
    with pytest.raises(ValueError, match="--model.schedule.by_time true needs --trainer.max_time"):
        trainer(tmp_path, max_epochs=1).fit(SmallCNN(data_info=data.info, schedule=schedule), datamodule=data)
    model = SmallCNN(data_info=data.info, schedule=schedule)
    fitting = trainer(tmp_path, max_epochs=2, max_time="00:01:00:00")
    fitting.fit(model, datamodule=data)
    assert fitting.lr_scheduler_configs[0].scheduler.get_last_lr()[0] == pytest.approx(0.0, abs=1e-6)
