import lightning.pytorch as pl
import pytest
import torch
from torch import nn

from lightning_modules import MLP, VGG, CustomCNN, ResNet, SmallCNN
from lightning_modules.frozen_layers import Divided, divide
from tests.helpers.data import Blobs
from tests.helpers.training import fit, trainer


@pytest.fixture
def blobs():
    return Blobs(count=80, val_fraction=0.2)


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


def trained(folder, data, cache, family=SmallCNN, epochs=2, callbacks=(), **options):
    """Fit from one seed, with a frozen backbone unless options say otherwise."""
    torch.manual_seed(0)
    model = family(data_info=data.info, frozen_cache=cache, **{"freeze": "backbone"} | options)
    fit(model, data, folder, max_epochs=epochs, callbacks=list(callbacks))
    return model


def difference(one, other):
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs if a.numel())


class Calls(pl.Callback):
    """Counts how many images a layer is given."""

    def __init__(self):
        self.images, self.sizes = 0, []

    def setup(self, trainer, pl_module, stage):
        first = next(m for m in pl_module.backbone.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        first.register_forward_hook(self.count)

    def count(self, layer, args, output):
        self.images += len(output)

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.sizes.append({name: tuple(column.shape[1:]) for name, column in batch.items()})


@pytest.mark.parametrize(
    ("family", "options", "largest"),
    [
        (CustomCNN, {"channels": [4, 4], "dense": 8}, 1e-6),
        (SmallCNN, {"memory_format": "channels_last", "dropout": 0.3}, 0.0),
        (MLP, {"hidden": [8, 8], "freeze": "until:5"}, 1e-6),
    ],
)
def test_frozen_layers__run_once_and_give_the_same_weights(
    tmp_path, heard, caplog, blobs, cache, family, options, largest
):
    plain = trained(tmp_path, blobs, None, family, **options)
    for known in (0, 80):
        caplog.clear()
        calls = Calls()
        kept = trained(tmp_path, blobs, cache, family, callbacks=[calls], **options)
        assert difference(plain, kept) <= largest
        assert kept.metrics == pytest.approx(plain.metrics, abs=1e-6)
        assert f"{known} outputs read from the cache, {80 - known} computed" in caplog.text
        # one image more shows the form of what the layers give
        assert calls.images == 81 - known
    # afterwards there are images again
    assert blobs.served("train").source.name == blobs.served("val").source.name == "image"
    assert trainer(tmp_path).test(kept, blobs, verbose=False) == trainer(tmp_path).test(plain, blobs, verbose=False)


def test_frozen_layers__another_head_and_another_seed_find_them_in_the_cache(tmp_path, heard, caplog, blobs, cache):
    model = trained(tmp_path, blobs, cache)
    caplog.clear()
    torch.manual_seed(1)
    other = SmallCNN(data_info=blobs.info, freeze="backbone", frozen_cache=cache, dropout=0.4)
    other.backbone.load_state_dict(model.backbone.state_dict())
    fit(other, blobs, tmp_path)
    assert "80 outputs read from the cache, 0 computed" in caplog.text
    # with other weights they are others
    next(other.backbone.parameters()).data.add_(1)
    fit(other, blobs, tmp_path)
    assert "0 outputs read from the cache, 80 computed" in caplog.text


def test_frozen_layers__a_resumed_run_ends_as_one_that_was_not_stopped(tmp_path, blobs, cache):
    whole = trained(tmp_path, blobs, cache, epochs=3, schedule=None)
    torch.manual_seed(0)
    first = SmallCNN(data_info=blobs.info, freeze="backbone", frozen_cache=cache, schedule=None)
    path = fit(first, blobs, tmp_path, max_epochs=2)
    torch.manual_seed(5)
    # its weights are replaced by those of the checkpoint, of which the outputs must be
    second = SmallCNN(data_info=blobs.info, freeze="backbone", frozen_cache=cache, schedule=None)
    torch.manual_seed(0)
    trainer(tmp_path, max_epochs=3, enable_checkpointing=False).fit(second, datamodule=blobs, ckpt_path=path)
    assert difference(whole, second) == 0


@pytest.mark.parametrize(
    ("options", "fitting", "said"),
    [
        ({"augmentation": ("flip",)}, {}, "frozen layers run in each epoch, because images are augmented anew"),
        ({"mixup": 0.2}, {}, "--data.mixup and --data.cutmix mix images anew"),
        ({}, {"max_epochs": 1}, None),
        ({}, {"limit_train_batches": 1}, None),
        ({}, {"max_steps": 5}, None),
    ],
)
def test_frozen_layers__images_where_nothing_is_spared(tmp_path, heard, caplog, cache, options, fitting, said):
    data, calls = Blobs(val_fraction=0.2, **options), Calls()
    model = SmallCNN(data_info=data.info, freeze="backbone", frozen_cache=cache)
    fit(model, data, tmp_path, callbacks=[calls], **fitting)
    assert all("image" in batch for batch in calls.sizes)
    assert ("frozen layers" in caplog.text) == (said is not None)
    assert said is None or said in caplog.text


def test_frozen_layers__a_step_of_its_own_gets_images(tmp_path, blobs, cache):
    class Own(SmallCNN):
        def training_step(self, batch, batch_idx):
            assert "image" in batch
            return super().training_step(batch, batch_idx)

    trained(tmp_path, blobs, cache, Own, epochs=2)


def test_views__are_fixed_and_taken_in_turns(tmp_path, heard, caplog, cache):
    data = Blobs(count=80, val_fraction=0.2, augmentation=("crop", "flip"))
    calls = Calls()
    model = trained(tmp_path, data, cache, views=3, callbacks=[calls])
    assert "3 fixed views of each training image" in caplog.text
    train, val = len(data.splits["train"]), len(data.splits["val"])
    assert calls.images == 1 + 3 * train + val
    assert all(batch["frozen"][0] == 3 for batch in calls.sizes)
    caplog.clear()
    again = trained(tmp_path, data, cache, views=3)
    assert f"{3 * train + val} outputs read from the cache, 0 computed" in caplog.text
    assert difference(model, again) == 0
    assert difference(model, trained(tmp_path, data, cache, views=2)) > 0


def test_views__each_epoch_takes_the_next_one():
    divided = Divided(nn.Identity(), nn.Identity(), shape=(1,), views=3)
    batch = {"id": torch.tensor([3, -4]), "frozen": torch.arange(6.0).view(2, 3, 1)}
    seen = torch.stack([divided.embedding(batch, epoch)[:, 0] for epoch in range(4)])
    assert seen.tolist() == [[0, 5], [1, 3], [2, 4], [0, 5]]


@pytest.mark.parametrize(
    ("options", "data", "message"),
    [
        ({"freeze": "none"}, {"augmentation": ("flip",)}, "--model.views 2 needs a backbone that begins with frozen"),
        ({}, {}, "--model.views 2 needs --data.augmentation"),
        ({}, {"augmentation": ("flip",), "cutmix": 1.0}, "no mixup, cutmix or strong_augmentation"),
        ({"frozen_cache": None}, {"augmentation": ("flip",)}, "--model.views 2 needs --model.frozen_cache"),
    ],
)
def test_views__what_they_cannot_be_had_with(tmp_path, cache, options, data, message):
    blobs = Blobs(**data)
    model = SmallCNN(data_info=blobs.info, views=2, **{"freeze": "backbone", "frozen_cache": cache} | options)
    with pytest.raises(ValueError, match=message):
        fit(model, blobs, tmp_path)


def test_divide__what_begins_with_frozen_layers():
    data = Blobs(size=32)
    vgg = VGG(data_info=data.info, freeze="until:dense")
    divided = divide(vgg.backbone)
    assert [name for name, _ in divided.fixed.named_children()] == ["features", "flatten"]
    assert [name for name, _ in divided.rest.named_children()] == ["dense", "activation"]
    # a residual network is no sequence, so it is divided at its end alone
    assert divide(ResNet(data_info=data.info, freeze="until:layer3").backbone) is None
    assert divide(MLP(data_info=data.info).backbone) is None
    # dropout between frozen layers is still at work
    layers = nn.Sequential(nn.Linear(2, 2), nn.Dropout(), nn.Linear(2, 2), nn.Linear(2, 2))
    layers[:3].requires_grad_(False)
    layers[0].eval()
    assert len(divide(layers).fixed) == 1
