"""Our `fit`, with everything on, against a hand-written loop: images per second of whole epochs.

Ours has the progress bar, both loggers, metrics, EMA, a schedule and checkpoints of every epoch. The peer is what one
would write by hand for the same: the same model, loader, optimizer and EMA, training loss and accuracy summed on the
device, validation with the same metrics, two checkpoints and a few TensorBoard scalars an epoch. Both run in this
process, turn by turn; the first epoch of each run is left out. The last line holds the model with the lowest ratio, and
all ratios.
"""

import argparse
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datamodules import Npz
from lightning_modules import MLP, ResNet, SmallCNN
from lightning_modules.metrics import classification_metrics
from lightning_modules.parameter_groups import build_optimizer
from pipelines.allocator import keep_large_blocks
from pipelines.cli import ImageCLI
from pipelines.gpu_check import settle_that_there_is_none
from pipelines.main import quieten

# model, batch size, images on a CPU, images on a GPU, epochs: more of the short ones, whose times scatter
CASES = {
    "MLP 128": (MLP, 128, 60_000, 100_000, 8),
    "MLP 256": (MLP, 256, 60_000, 100_000, 8),
    "SmallCNN 128": (SmallCNN, 128, 6_000, 100_000, 4),
    "ResNet-18 128": (ResNet, 128, 512, 50_000, 4),
    "ResNet-18 512": (ResNet, 512, 0, 50_000, 4),
}
LR, DECAY = 0.001, 0.999


class Clock(Callback):
    """When each epoch started, and when training ended."""

    def __init__(self):
        self.times = []

    def on_train_epoch_start(self, trainer, pl_module):
        synchronize(pl_module.device)
        self.times.append(time.perf_counter())


class TimedCLI(ImageCLI):
    """The command line with a clock."""

    def instantiate_trainer(self, **kwargs):
        trainer = super().instantiate_trainer(**kwargs)
        self.clock = Clock()
        trainer.callbacks.append(self.clock)
        return trainer


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def options_of(model_class, device):
    options = {"stem": "cifar"} if model_class is ResNet else {}
    return options | ({"memory_format": "channels_last"} if model_class is ResNet and device.type == "cuda" else {})


def seconds_an_epoch(times):
    # the first epoch warms up, and the last has no following start
    return statistics.median(later - earlier for earlier, later in pairwise(times[1:]))


def ours(model_class, path, batch, epochs, device, folder):
    words = ["fit", f"--model={model_class.__name__}", "--data=Npz", f"--data.path={path}"]
    words += [f"--{'model'}.{name}={value}" for name, value in options_of(model_class, device).items()]
    words += [f"--data.batch_size={batch}", f"--trainer.max_epochs={epochs}", f"--run.root={folder}", "--run.name=ours"]
    words += [f"--ema.decay={DECAY}", f"--model.optimizer.lr={LR}", "--data.augmentation=[crop,flip]"]
    words += ["--trainer.accelerator=" + ("gpu" if device.type == "cuda" else "cpu"), "--trainer.devices=1"]
    cli = TimedCLI(words + (["--trainer.precision=bf16-mixed"] if device.type == "cuda" else []))
    return seconds_an_epoch(cli.clock.times)


def peer(model_class, path, batch, epochs, device, folder):
    pl.seed_everything(0)
    data = Npz(path=str(path), batch_size=batch, augmentation=("crop", "flip"))
    model = model_class(data_info=data.info, **options_of(model_class, device)).to(device)
    average = model_class(data_info=data.info, **options_of(model_class, device)).to(device)
    if model.memory_format == "channels_last":
        for network in (model, average):
            network.backbone.to(memory_format=torch.channels_last)
    pairs = [(a.data, b.data) for a, b in zip(average.state_dict().values(), model.state_dict().values(), strict=True)]
    pairs = [(a, b) for a, b in pairs if a.is_floating_point()]
    averaged, current = [a for a, _ in pairs], [b for _, b in pairs]
    update = get_ema_multi_avg_fn(DECAY)
    optimizer = build_optimizer(lambda p: torch.optim.AdamW(p, lr=LR), model.learning_rates())
    loader, val_loader = data.loader(data.samples("train"), shuffle=True), data.loader(data.samples("val"))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * len(loader) + 1)
    writer, times = SummaryWriter(folder), []
    crop = CropFlip(device)
    autocast = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
    for epoch in range(epochs):
        synchronize(device)
        times.append(time.perf_counter())
        model.train()
        loader.sampler.set_epoch(epoch)
        sums = torch.zeros(2, device=device)
        for batch_of_images in loader:
            images, labels = (batch_of_images[name].to(device, non_blocking=True) for name in ("image", "label"))
            images = crop(images)
            optimizer.zero_grad()
            with autocast:
                logits = model(images)
                loss = torch.nn.functional.cross_entropy(logits, labels)
            loss.backward()
            optimizer.step()
            schedule.step()
            update(averaged, current, 0)
            with torch.no_grad():
                sums += torch.stack([loss.detach() * len(labels), (logits.argmax(1) == labels).sum()])
        average.eval()
        with torch.no_grad(), autocast:
            logits = torch.cat([average(part["image"].to(device)).float() for part in val_loader])
        metrics = classification_metrics(logits.cpu(), data.samples("val").labels)
        for name, value in {**metrics, "train_loss": sums[0].item(), "train_hits": sums[1].item()}.items():
            writer.add_scalar(name, value, epoch)
        state = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
        for name in ("best", "last"):
            torch.save(state, Path(folder) / f"{name}.pt")
    writer.close()
    return seconds_an_epoch(times)


class CropFlip:
    """Our augmentation, called by hand."""

    def __init__(self, device):
        self.generator = torch.Generator(device).manual_seed(0)

    def __call__(self, images):
        from datamodules.transforms import augment

        return augment(images, ("crop", "flip"), self.generator)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the MLP at batch 256 alone, for make bench")
    parser.add_argument("--only", help="one case, by its name")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    names = [name for name, case in CASES.items() if case[2] or device.type == "cuda"]
    names = ["MLP 256"] if options.quick else [options.only] if options.only else names
    keep_large_blocks()
    settle_that_there_is_none()
    quieten()
    # the progress bar is drawn, though nobody sees it
    os.environ["FORCE_COLOR"] = "1"
    results = {}
    for name in names:
        model_class, batch, on_cpu, on_gpu, epochs = CASES[name]
        count = on_gpu if device.type == "cuda" else on_cpu
        rng = np.random.default_rng(0)
        shape = (28, 28, 1) if model_class is MLP else (32, 32, 3)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.npz"
            images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
            labels = rng.integers(0, 10, count)
            arrays = {"x_train": images, "y_train": labels, "x_test": images[:500], "y_test": labels[:500]}
            np.savez(path, **arrays)
            trained = count - count // 10
            rates = {"ours": [], "peer": []}
            for repeat in range(options.repeats):
                # the first of a pair finds the caches as the other one left them: take turns
                sides = [("ours", ours), ("peer", peer)]
                for side, run in sides if repeat % 2 else sides[::-1]:
                    with Path(os.devnull).open("w") as hidden, contextlib.redirect_stdout(hidden):
                        rates[side].append(trained / run(model_class, path, batch, epochs, device, folder))
                print(f"{name}: ours {rates['ours'][-1]:,.0f}, peer {rates['peer'][-1]:,.0f} images/s", flush=True)
        results[name] = {side: round(statistics.median(values), 1) for side, values in rates.items()}
        ratios = [left / right for left, right in zip(rates["ours"], rates["peer"], strict=True)]
        results[name]["ratio"] = round(statistics.median(ratios), 3)
    worst = min(results, key=lambda name: results[name]["ratio"])
    print(json.dumps({**results[worst], "unit": "images/s", "case": worst, "device": str(device), "all": results}))


if __name__ == "__main__":
    main()
