from dataclasses import replace

import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from datamodules.image_data import ImageDataModule
from lightning_modules import MLP, CustomCNN, ImageClassifier, Linear, SmallCNN, Timm
from lightning_modules.training.losses import cross_entropy
from tests.helpers.data import Blobs, data_info, random_images
from tests.helpers.training import fit, trainer


def small_mlp(data, **options):
    return MLP(data_info=data.info, hidden=[16], **options)


def test_classifier__needs_data_info():
    with pytest.raises(ValueError, match="MLP needs data_info"):
        MLP()


def test_classifier__logits_are_not_adjusted_to_a_class_without_samples():
    info = replace(Blobs().info, class_counts=[20, 0, 20])
    with pytest.raises(ValueError, match=r"--model.logit_adjustment needs .* of every class, not \[20, 0, 20\]"):
        MLP(data_info=info, hidden=[8], logit_adjustment=1.0)
    MLP(data_info=info, hidden=[8])


def test_classifier__learns_and_reports(tmp_path):
    data = Blobs(count=240)
    model = small_mlp(data, optimizer=lambda p: torch.optim.AdamW(p, lr=0.02))
    fitting = trainer(tmp_path, max_epochs=8, enable_checkpointing=False)
    fitting.fit(model, datamodule=data)
    assert fitting.callback_metrics["val/accuracy"] > 0.9
    assert fitting.callback_metrics["train/accuracy"] > 0.8
    assert {"val/loss", "val/nll", "val/ece", "val/auroc", "train/loss"} <= set(fitting.callback_metrics)
    # not rounded: a callback must see the same best epoch as the recorder
    assert float(fitting.callback_metrics["val/nll"]) == model.metrics["nll"]


def test_training_metrics__are_means_over_samples(tmp_path):
    class Frozen(MLP):
        def training_step(self, batch, batch_idx):
            self.eval()
            return super().training_step(batch, batch_idx)

    # 54 samples in batches of 16 leave a smaller last one
    data = Blobs(count=60)
    model = Frozen(data_info=data.info, hidden=[8], optimizer=lambda p: torch.optim.SGD(p, lr=0.0), schedule=None)
    fitting = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    fitting.fit(model, datamodule=data)
    train = data.splits["train"]
    with torch.no_grad():
        logits = model.eval()(train.source.gather(train.rows))
    expected = float(cross_entropy(logits.double(), train.labels))
    assert float(fitting.callback_metrics["train/loss"]) == pytest.approx(expected, abs=1e-6)
    accuracy = (logits.argmax(1) == train.labels).double().mean().item()
    assert float(fitting.callback_metrics["train/accuracy"]) == pytest.approx(accuracy, abs=1e-6)


def test_loss__of_soft_labels_is_that_of_all_classes(tmp_path):
    data = Blobs()
    test = data.splits["test"]
    soft = torch.nn.functional.one_hot(test.labels, 3) * 0.4 + torch.tensor([0.3, 0.2, 0.1])
    data.splits["test"] = replace(test, targets=soft)
    model = small_mlp(data)
    trainer(tmp_path).test(model, datamodule=data, verbose=False)
    order = test.ids.argsort()
    logits = model.predictions["logits"].double()
    assert model.metrics["loss"] == pytest.approx(float(nn.functional.cross_entropy(logits, soft[order].double())))
    # metrics take the most probable class
    assert model.metrics["nll"] == pytest.approx(float(nn.functional.cross_entropy(logits, test.labels[order])))
    assert set(model.predictions) == {"id", "label", "logits"}
    trainer(tmp_path).predict(model, datamodule=data, return_predictions=False)
    assert "target" not in model.predictions


def test_overfit_one_batch(tmp_path):
    data = Blobs(count=20, batch_size=32)
    model = SmallCNN(data_info=data.info, optimizer=lambda p: torch.optim.Adam(p, lr=0.01), schedule=None)
    fitting = trainer(tmp_path, max_epochs=60, enable_checkpointing=False, limit_val_batches=0)
    fitting.fit(model, datamodule=data)
    assert fitting.callback_metrics["train/accuracy"] == 1.0
    assert fitting.callback_metrics["train/loss"] < 0.01


def test_predictions__hold_each_test_sample_once(tmp_path):
    data = Blobs()
    model = small_mlp(data)
    trainer(tmp_path).test(model, datamodule=data, verbose=False)
    assert sorted(model.predictions["id"].tolist()) == sorted(data.splits["test"].ids.tolist())
    order = data.splits["test"].ids.argsort()
    assert torch.equal(model.predictions["label"], data.splits["test"].labels[order])


def test_features__are_what_the_head_sees():
    model = SmallCNN(data_info=data_info(), input_size=16).eval()
    images = random_images(3)
    features = model.features(images)
    assert features.shape == (3, 64)
    assert torch.equal(model.head(features), model(images))


def test_input_size__other_sizes_are_resized():
    model = MLP(data_info=data_info(size=32), input_size=8).eval()
    assert model(random_images(2, 3, 32)).shape == model(random_images(2, 3, 50)).shape == (2, 10)


def test_input_size__impossible_sizes_name_the_smallest():
    with pytest.raises(ValueError, match="SmallCNN cannot take images of 8x8 .* smallest that works is 10x10"):
        SmallCNN(data_info=data_info(size=8))
    SmallCNN(data_info=data_info(size=8), input_size=10)


def test_schedule__without_an_end_says_so(tmp_path):
    data = Blobs()
    with pytest.raises(ValueError, match="--trainer.max_epochs"):
        trainer(tmp_path, max_epochs=-1, enable_checkpointing=False).fit(small_mlp(data), datamodule=data)


def test_divergence__is_an_error_and_not_a_metric(tmp_path):
    data = Blobs()
    model = small_mlp(data)
    nn.init.constant_(model.head.bias, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        trainer(tmp_path).test(model, datamodule=data, verbose=False)


def test_checkpoint__records_what_was_fitted_and_selected_on(tmp_path):
    data = Blobs(val_fraction=0.2, stack_fraction=0.2)
    record = torch.load(fit(small_mlp(data), data, tmp_path), weights_only=True)["provenance"]
    assert set(record["fitted"].tolist()) == set(data.splits["train"].keys.tolist())
    assert set(record["selected"].tolist()) == set(data.splits["val"].keys.tolist())


def test_checkpoint__a_continued_run_remembers_its_first_samples(tmp_path):
    first, second = Blobs(split_seed=0, val_fraction=0.3), Blobs(split_seed=1, val_fraction=0.3)
    path = fit(small_mlp(first), first, tmp_path)
    model = small_mlp(second)
    fitting = trainer(tmp_path, max_epochs=3, enable_checkpointing=False)
    fitting.fit(model, datamodule=second, ckpt_path=path)
    fitting.save_checkpoint(tmp_path / "more.ckpt")
    fitted = torch.load(tmp_path / "more.ckpt", weights_only=True)["provenance"]["fitted"]
    for data in (first, second):
        assert torch.isin(data.splits["train"].keys, fitted).all()


def test_resume__ends_at_the_uninterrupted_weights(tmp_path):
    def run(folder, **options):
        pl.seed_everything(0)
        data = Blobs(count=100)
        model = MLP(data_info=data.info, hidden=[8], dropout=0.0)
        fitting = trainer(folder, enable_checkpointing=False, **options.pop("trainer", {}))
        fitting.fit(model, datamodule=data, **options)
        fitting.save_checkpoint(folder / "end.ckpt")
        return model

    class StopAfterTwo(pl.Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            trainer.should_stop = trainer.current_epoch == 1

    whole, half = tmp_path / "whole", tmp_path / "half"
    expected = run(whole, trainer={"max_epochs": 4}).state_dict()
    run(half, trainer={"max_epochs": 4, "callbacks": [StopAfterTwo()]})
    resumed = run(half, trainer={"max_epochs": 4}, ckpt_path=half / "end.ckpt").state_dict()
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


def test_same_seed__same_weights(tmp_path):
    def run(seed):
        pl.seed_everything(seed)
        data = Blobs(augmentation=("crop", "flip"))
        model = small_mlp(data)
        fit(model, data, tmp_path)
        return model.head.weight

    assert torch.equal(run(3), run(3))
    assert not torch.equal(run(3), run(4))


def test_build_backbone__must_be_overridden():
    with pytest.raises(NotImplementedError, match="must override build_backbone"):
        ImageClassifier(data_info=data_info())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu__fit_with_mixed_precision_reaches_the_cpus_accuracy(tmp_path):
    data: ImageDataModule = Blobs(count=240, augmentation=("crop",))
    model = small_mlp(data, optimizer=lambda p: torch.optim.AdamW(p, lr=0.02))
    fitting = trainer(tmp_path, accelerator="gpu", devices=1, precision="bf16-mixed", max_epochs=8)
    fitting.fit(model, datamodule=data)
    assert fitting.callback_metrics["val/accuracy"] > 0.8


def test_freeze__is_an_option_and_still_lightnings_method():
    model = MLP(data_info=data_info(), hidden=[8], freeze="backbone")
    assert not any(p.requires_grad for p in model.backbone.parameters())
    assert all(p.requires_grad for p in model.head.parameters())
    model.freeze()
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.training
    model.unfreeze()
    assert all(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="--model.freeze takes none, backbone or until:<stage>, not 'all'"):
        MLP(data_info=data_info(), hidden=[8], freeze="all")
    # a model that is rebuilt from its checkpoint is whole
    assert "freeze" not in model.architecture()["init_args"]


@pytest.mark.parametrize(
    ("family", "options"), [(Linear, {}), (SmallCNN, {}), (Timm, {"name": "resnet18", "options": {"layers": [1] * 4}})]
)
def test_dropout__stands_before_the_head(family, options):
    model = family(data_info=data_info(size=32), input_size=32, dropout=0.5, **options)
    seen = []
    model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    images = random_images(4)
    plain = family(data_info=data_info(size=32), input_size=32, **options)
    # nothing of it is among the weights: checkpoints without the option load
    assert model.load_state_dict(plain.state_dict())
    with torch.no_grad():
        assert torch.equal(model.eval()(images), plain.eval()(images))
        model.train().backbone.eval()
        model(images)
    features = model.features(images)
    dropped = seen[-1] == 0
    assert torch.allclose(seen[-1], torch.where(dropped, 0.0, 2 * features), atol=1e-5)
    assert 0.2 < (dropped & (features != 0)).sum() / (features != 0).sum() < 0.8
    assert model.architecture()["init_args"]["dropout"] == 0.5


@pytest.mark.parametrize("family", [MLP, CustomCNN])
def test_dropout__is_not_doubled_where_the_backbone_drops(family):
    model = family(data_info=data_info(), dropout=0.5)
    assert model.drop.p == 0
    assert any(isinstance(module, nn.Dropout) and module.p == 0.5 for module in model.backbone)


def test_dropout__out_of_range():
    with pytest.raises(ValueError, match=r"--model.dropout must be in \[0, 1\)"):
        SmallCNN(data_info=data_info(), dropout=1.0)
