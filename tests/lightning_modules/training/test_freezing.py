import warnings

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning
from torch import nn

from lightning_modules import MLP, EfficientNet, Linear, ResNet, SmallCNN, StackingModule
from lightning_modules.training.freezing import check_unfreezing
from lightning_modules.training.schedules import WarmupCosine
from tests.helpers.data import Blobs, random_images
from tests.helpers.families import build
from tests.helpers.training import fit, trainer


def small(data, **options):
    return MLP(data_info=data.info, hidden=[8, 8], **options)


def copy(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def changed(model, before):
    return {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}


def test_freeze__backbone_stays_bit_identical(tmp_path):
    data = Blobs(augmentation=("crop",), val_fraction=0.2)
    model = ResNet(data_info=data.info, stem="cifar", freeze="backbone")
    before = copy(model)
    # validation sets all modes within each epoch, and sets them back
    fit(model, data, tmp_path, val_check_interval=1, limit_train_batches=3)
    assert changed(model, before) == {"head.weight", "head.bias"}
    assert not any(module.training for module in model.backbone.modules())
    assert model.training
    assert model.head.training


def test_freeze__until_a_stage(tmp_path):
    data = Blobs(val_fraction=0.2)
    model = small(data, freeze="until:5")
    before = copy(model)
    fit(model, data, tmp_path)
    still = {name for name in before if name.startswith(("backbone.1.", "backbone.2.", "preprocessing."))}
    assert changed(model, before) == set(before) - still
    # the next layer, its BatchNorm included, is in training
    assert [model.backbone[n].training for n in (1, 2, 5, 6)] == [False, False, True, True]


def test_freeze__a_module_may_be_frozen_in_part():
    model = build(EfficientNet, variant="lite0", freeze="until:blocks.2")
    backbone = model.train().backbone
    assert not backbone.bn1.training
    assert [block.training for block in backbone.blocks] == [False] * 2 + [True] * 5
    assert backbone.conv_head.weight.requires_grad
    assert not model.eval().training


def test_freeze__drop_path_is_off():
    model = build(MLP, hidden=[8])
    model.backbone = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(3072, 8), nn.Dropout(0.5)))
    images = random_images(4)
    model.train()
    assert not torch.equal(model.features(images), model.features(images))
    model.backbone.requires_grad_(False)
    model.train()
    assert torch.equal(model.features(images), model.features(images))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("all", r"none, backbone or until:<stage>, not 'all' \(stages: conv1, layer1, .*layer4\)"),
        ("until:layr3", r"no stage 'layr3'; did you mean until:layer3\? \(stages: conv1"),
        ("until:", r"no stage ''"),
        ("layer3", "not 'layer3'"),
    ],
)
def test_freeze__wrong_values_name_the_stages(choice, message):
    with pytest.raises(ValueError, match=message):
        build(ResNet, freeze=choice)


def test_freeze__a_model_without_stages():
    assert build(Linear, freeze="backbone").head.weight.requires_grad
    with pytest.raises(ValueError, match="this model has no stages"):
        build(Linear, freeze="until:0")


# gradual unfreezing


class Watch(pl.Callback):
    """Keep the weights at the end of each epoch, and the modes within."""

    def __init__(self):
        self.epochs = []
        self.modes = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.modes.append(pl_module.backbone[2].training)

    def on_train_epoch_end(self, trainer, pl_module):
        self.epochs.append(copy(pl_module))


def unfreeze(model, data, folder, train_bn=True, epochs=3, at=1, **options):
    watch = Watch()
    callbacks = [BackboneFinetuning(at, train_bn=train_bn, lambda_func=lambda epoch: 1.0), watch]
    fitting = trainer(folder, max_epochs=epochs, enable_checkpointing=False, callbacks=callbacks)
    fitting.fit(model, datamodule=data, **options)
    return fitting, watch


STATISTICS = {f"backbone.{n}.{name}" for n in (2, 6) for name in ("running_mean", "running_var", "num_batches_tracked")}
NORMALISING = STATISTICS | {f"backbone.{n}.{name}" for n in (2, 6) for name in ("weight", "bias")}


@pytest.mark.parametrize("train_bn", [True, False])
def test_unfreezing__keeps_still_before_its_epoch(train_bn, tmp_path):
    data = Blobs(val_fraction=0.2)
    model = small(data, schedule=None)
    before = copy(model)
    _, watch = unfreeze(model, data, tmp_path, train_bn)
    head = {"head.weight", "head.bias"}
    first, last = watch.epochs[0], watch.epochs[-1]
    assert {name for name in before if not torch.equal(before[name], first[name])} == head
    after = {name for name in before if not name.startswith("preprocessing.")}
    assert {name for name in first if not torch.equal(first[name], last[name])} == (
        after if train_bn else after - NORMALISING
    )
    assert set(watch.modes[: len(watch.modes) // 3]) == {False}
    assert set(watch.modes[len(watch.modes) // 3 :]) == {train_bn}


def test_unfreezing__goes_on_in_a_resumed_run(tmp_path):
    def run(epochs, folder, **options):
        pl.seed_everything(0)
        data = Blobs(val_fraction=0.2)
        model = MLP(data_info=data.info, hidden=[8, 8], dropout=0.0, schedule=None)
        fitting, _ = unfreeze(model, data, folder, epochs=epochs, **options)
        fitting.save_checkpoint(folder / "end.ckpt")
        return model.state_dict()

    whole = run(4, tmp_path)
    run(2, tmp_path)
    resumed = run(4, tmp_path, ckpt_path=tmp_path / "end.ckpt")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_unfreezing__and_freeze_are_refused(tmp_path):
    data = Blobs()
    with pytest.raises(ValueError, match="--model.freeze backbone and BackboneFinetuning in --trainer.callbacks"):
        unfreeze(small(data, freeze="backbone"), data, tmp_path)


def test_unfreezing__of_a_stack_is_refused(tmp_path):
    data = Blobs(stack_fraction=0.3)
    path = fit(Linear(data_info=data.info), data, tmp_path, max_epochs=1)
    with pytest.raises(ValueError, match="a stack trains its head alone"):
        unfreeze(StackingModule(data_info=data.info, bases=[str(path)]), data, tmp_path)


def test_unfreezing__in_several_processes_is_refused(tmp_path):
    model = build(MLP)
    several = trainer(tmp_path, callbacks=[BackboneFinetuning()], devices=2, strategy="ddp", num_nodes=1)
    with pytest.raises(ValueError, match=r"needs --trainer.devices 1: .* never averages gradients"):
        check_unfreezing(several, model, "none")
    check_unfreezing(trainer(tmp_path, devices=2, strategy="ddp"), model, "none")


def test_ddp__leaves_out_parameters_that_were_frozen(tmp_path):
    # why several processes are refused: if this fails, they need not be
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[0].requires_grad_(False)
        wrapped = nn.parallel.DistributedDataParallel(model)
        model[0].requires_grad_(True)
        seen = []
        wrapped.register_comm_hook(None, lambda state, bucket: watch_bucket(bucket, seen))
        wrapped(torch.ones(1, 2)).sum().backward()
        assert model[0].weight.grad is not None
        assert {id(p) for p in seen} == {id(p) for p in model[1].parameters()}
    finally:
        torch.distributed.destroy_process_group()


def watch_bucket(bucket, seen):
    seen += bucket.parameters()
    future = torch.futures.Future()
    future.set_result(bucket.buffer())
    return future


def test_gradual_unfreezing__goes_with_a_schedule(tmp_path):
    data = Blobs()
    model = SmallCNN(data_info=data.info, optimizer=lambda p: torch.optim.SGD(p, lr=0.1), schedule=WarmupCosine())
    first = model.backbone[0].weight.detach().clone()
    unfreeze = BackboneFinetuning(unfreeze_backbone_at_epoch=1, backbone_initial_ratio_lr=0.1, train_bn=False)
    fitting = trainer(tmp_path, max_epochs=3, callbacks=[unfreeze], enable_checkpointing=False)
    fitting.fit(model, datamodule=data)
    assert not torch.equal(model.backbone[0].weight, first)
    # the schedule moved the head's rate to its end, and the callback the backbone's
    rates = [group["lr"] for group in fitting.optimizers[0].param_groups]
    assert rates[0] < 0.01
    assert len(rates) == 2


def warned(caught):
    return [str(w.message) for w in caught if "random weights" in str(w.message)]


def test_random__frozen_layers_without_weights_are_told(tmp_path):
    data = Blobs(val_fraction=0.2)
    with pytest.warns(match=r"^2 frozen layers have random weights, which are not trained \(1, 2\): give --model"):
        path = fit(small(data, freeze="until:5"), data, tmp_path, max_epochs=1).rename(tmp_path / "first.ckpt")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # all that is frozen comes from the file, or from the checkpoint that is gone on from
        fit(small(data, freeze="backbone", weights=str(path)), data, tmp_path, max_epochs=1)
        again = trainer(tmp_path, enable_checkpointing=False, max_epochs=2)
        again.fit(small(data, freeze="until:5"), datamodule=data, ckpt_path=path)
        fit(small(data), data, tmp_path, max_epochs=1)
    assert warned(caught) == []


def test_random__a_new_first_layer_under_frozen_ones_is_told(tmp_path):
    data = Blobs(val_fraction=0.2, size=32)
    first = ResNet(data_info=data.info, stem="imagenet")
    torch.save(first.backbone.state_dict(), tmp_path / "weights.pt")
    model = ResNet(data_info=data.info, stem="cifar", freeze="until:layer2", weights=str(tmp_path / "weights.pt"))
    with pytest.warns(match=r"^1 frozen layers have random weights, which are not trained \(conv1\)"):
        fit(model, data, tmp_path, max_epochs=1, limit_train_batches=1, limit_val_batches=1)
