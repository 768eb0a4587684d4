import math
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import BackboneFinetuning, Callback
from torch import nn

from callbacks import EMA
from common import class_paths
from lightning_modules import MLP
from lightning_modules.checkpoints import load_classifier
from lightning_modules.training.compute import settle_precision
from tests.helpers.cli import result, run
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


class Watching(MLP):
    """Remember weights and BatchNorm statistics after each optimizer step."""

    def on_train_start(self):
        super().on_train_start()
        self.history = [self.snapshot()]

    def on_train_batch_end(self, outputs, batch, batch_idx):
        self.history.append(self.snapshot())

    def snapshot(self):
        return {name: value.clone() for name, value in self.state_dict().items()}


def fit(tmp_path, callbacks, model_class=Watching, ckpt_path=None, **options):
    torch.manual_seed(0)
    data = Blobs()
    # random numbers of their own would not be resumed here
    model = model_class(data_info=data.info, hidden=[8], dropout=0.0)
    fitting = trainer(tmp_path, callbacks=callbacks, enable_checkpointing=False, **options)
    fitting.fit(model, datamodule=data, ckpt_path=ckpt_path)
    return model, fitting, data


def average(history, decay, warmup=False, every=1, epoch=1):
    """By hand, in numpy's order: a copy at the first update, then by the product of the decays since the last one.

    It also goes on at the end of each epoch, where the model is validated.
    """
    last, kept = 0, None
    for step, now in enumerate(history[1:], 1):
        if step % every and step % epoch:
            continue
        decays = [min(decay, (1 + s) / (10 + s)) if warmup else decay for s in range(last + 1, step + 1)]
        share, before = (0.0, now) if kept is None else (math.prod(decays), kept)
        kept = {name: share * before[name].double() + (1 - share) * now[name].double() for name in now}
        last = step
    return kept


@pytest.mark.parametrize(
    "options",
    [
        {"decay": 0.9, "warmup": False},
        {"decay": 0.9},
        {"decay": 0.8, "warmup": False, "every_n_steps": 3},
        {"decay": 0.9, "every_n_steps": 3},
        # longer than the run
        {"decay": 0.9, "every_n_steps": 1000},
    ],
)
def test_ema__is_the_average_of_the_steps(tmp_path, options):
    model, _, _ = fit(tmp_path, [EMA(**options)])
    expected = average(model.history, options["decay"], options.get("warmup", True), options.get("every_n_steps", 1), 4)
    for name, value in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            assert value == model.history[-1][name]
        else:
            assert torch.allclose(value.double(), expected[name], atol=1e-5), name


def test_ema__a_run_shorter_than_an_update_ends_with_what_it_has_learnt(tmp_path):
    model, _, _ = fit(tmp_path, [EMA(decay=0.9, every_n_steps=1000)], limit_val_batches=0)
    for name, value in model.history[-1].items():
        assert torch.equal(model.state_dict()[name], value), name
    assert not torch.equal(model.head.weight, model.history[0]["head.weight"])


class SaveAfterTwoSteps(Callback):
    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 2:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "early.ckpt")


def test_ema__what_is_saved_before_the_first_update_has_learnt_something(tmp_path):
    model, _, _ = fit(tmp_path, [EMA(decay=0.9, every_n_steps=3), SaveAfterTwoSteps()])
    saved = torch.load(tmp_path / "early.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(saved["head.weight"], model.history[2]["head.weight"])
    # the average itself is not touched
    assert torch.allclose(model.head.weight.double(), average(model.history, 0.9, True, 3, 4)["head.weight"], atol=1e-6)


def test_ema__validates_with_the_average_and_trains_on_without(tmp_path):
    seen = []

    class Both(Watching):
        def on_validation_epoch_end(self):
            super().on_validation_epoch_end()
            if not self.trainer.sanity_checking:
                seen.append(self.metrics["nll"])

        def validation_step(self, batch, batch_idx):
            self.validated = self.snapshot()
            super().validation_step(batch, batch_idx)

    ema = EMA(decay=0.5, warmup=False)
    model, fitting, data = fit(tmp_path, [ema], Both, max_epochs=3)
    expected = average(model.history, 0.5)
    assert torch.allclose(model.validated["head.weight"].double(), expected["head.weight"], atol=1e-6)
    # the steps after a validation go on from the plain weights
    without, _, _ = fit(tmp_path, [EMA(decay=0.0, warmup=False)], max_epochs=3)
    assert torch.equal(model.history[-1]["head.weight"], without.history[-1]["head.weight"])
    # what the fit ends with is what was validated last
    fitting.validate(model, datamodule=data, verbose=False)
    assert seen[-1] == pytest.approx(seen[-2])


class FollowPrecision(Callback):
    """As the command line does."""

    def setup(self, trainer, pl_module, stage):
        settle_precision(trainer, pl_module)


class StopAfterTwoEpochs(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            trainer.save_checkpoint(Path(trainer.default_root_dir) / "half.ckpt")
            trainer.should_stop = True


def test_ema__is_what_is_saved(tmp_path):
    half, _, _ = fit(tmp_path, [EMA(decay=0.9), StopAfterTwoEpochs()], max_epochs=4)
    class_paths.trust("tests")
    saved = load_classifier(tmp_path / "half.ckpt")
    expected = average(half.history, 0.9, warmup=True)
    assert torch.allclose(saved.head.weight.double(), expected["head.weight"], atol=1e-6)


def test_ema__a_resumed_run_ends_alike(tmp_path):
    whole, _, _ = fit(tmp_path, [EMA(decay=0.9)], max_epochs=4)
    half, _, _ = fit(tmp_path, [EMA(decay=0.9), StopAfterTwoEpochs()], max_epochs=4)
    assert not torch.equal(half.head.weight, whole.head.weight)
    resumed, _, _ = fit(tmp_path, [EMA(decay=0.9)], ckpt_path=tmp_path / "half.ckpt", max_epochs=4)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true"])
@pytest.mark.parametrize("averages", [True, False])
def test_ema__follows_the_precision_of_the_weights(precision, averages, tmp_path):
    def callbacks(*more):
        return [*([EMA(decay=0.9)] if averages else []), FollowPrecision(), *more]

    whole, _, _ = fit(tmp_path, callbacks(), max_epochs=4, precision=precision)
    fit(tmp_path, callbacks(StopAfterTwoEpochs()), max_epochs=4, precision=precision)
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    assert saved["head.weight"].dtype == whole.head.weight.dtype != torch.float32
    resumed, _, _ = fit(tmp_path, callbacks(), ckpt_path=tmp_path / "half.ckpt", max_epochs=4, precision=precision)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    if averages:
        rounding = torch.finfo(whole.head.weight.dtype).eps
        expected = average(whole.history, 0.9, warmup=True)["head.weight"]
        assert torch.allclose(whole.head.weight.double(), expected, rtol=rounding, atol=rounding**2)


def test_ema__a_small_share_is_not_rounded_away(tmp_path):
    ema = EMA(decay=0.999)
    model, _, _ = fit(tmp_path, [ema], max_epochs=1, precision="bf16-true")
    start = model.head.weight.double()
    # a thousandth of this is less than what 16 bits tell apart
    model.head.weight.data.add_(0.1)
    for _ in range(1000):
        ema._follow(0.999)
    ema._complete(model)
    moved = ema._average_model.module.head.weight.double() - start
    assert moved.mean().item() == pytest.approx(0.1 * (1 - 0.999**1000), rel=0.05)


def test_ema__averages_what_is_unfrozen_also_in_a_resumed_run(tmp_path):
    def callbacks(*more):
        return [EMA(decay=0.9), BackboneFinetuning(unfreeze_backbone_at_epoch=1, train_bn=False), *more]

    whole, _, _ = fit(tmp_path, callbacks(), max_epochs=4)
    name = "backbone.1.weight"
    expected = average(whole.history, 0.9, warmup=True)[name]
    assert torch.allclose(whole.state_dict()[name].double(), expected, atol=1e-5)
    assert not torch.allclose(whole.history[-1][name].double(), expected, atol=1e-5)
    fit(tmp_path, callbacks(StopAfterTwoEpochs()), max_epochs=4)
    resumed, _, _ = fit(tmp_path, callbacks(), ckpt_path=tmp_path / "half.ckpt", max_epochs=4)
    assert torch.equal(resumed.state_dict()[name], whole.state_dict()[name])


def test_ema__leaves_frozen_weights_and_their_copies_alone(tmp_path):
    class Frozen(Watching):
        def build(self):
            super().build()
            self.backbone.requires_grad_(False)

    model, _, _ = fit(tmp_path, [EMA(decay=0.9)], Frozen)
    weights = [m.weight for m in model.backbone.modules() if isinstance(m, nn.Linear)]
    assert torch.equal(weights[0], model.history[0]["backbone.1.weight"])


@pytest.mark.parametrize("options", [{"decay": 1.0}, {"decay": 0.9, "every_n_steps": 0}, {"every_n_steps": 2}])
def test_ema__impossible_options(options):
    with pytest.raises(ValueError, match="--ema"):
        EMA(**options)


def test_cli__ema(tmp_path):
    words = ("fit", "--model", "MLP", "--trainer.max_epochs", "2")
    assert run(*words, "--ema.decay", "0.9", "--run.name", "averaged", root=tmp_path) == 0
    assert run(*words, "--run.name", "plain", root=tmp_path) == 0
    averaged, plain = (result(tmp_path, name=name) for name in ("averaged", "plain"))
    assert averaged["val"]["nll"] != plain["val"]["nll"]
    # what was validated is what is in the checkpoint
    path = tmp_path / "digits/averaged/checkpoints/best.ckpt"
    assert run("validate", "--ckpt_path", path, root=tmp_path) == 0
    assert result(tmp_path, name="averaged")["val"]["nll"] == pytest.approx(averaged["val"]["nll"], rel=1e-5)


def test_cli__an_average_is_not_gone_on_with_as_if_it_were_the_weights(tmp_path, capsys):
    words = ("fit", "--model", "MLP", "--trainer.max_epochs", "1", "--run.name", "averaged")
    assert run(*words, "--ema.decay", "0.9", root=tmp_path) == 0
    assert run(*words, "--ckpt_path", tmp_path / "digits/averaged", root=tmp_path) == 2
    assert "holds an average of the weights: continue with --ema.decay" in capsys.readouterr().err
