"""Our `fit`, with everything on, against a hand-written loop: images per second of whole epochs.

Ours has the progress bar, both loggers, metrics, EMA, a schedule and checkpoints of every epoch. The peer is what one
would write by hand for the same: the same model, loader, optimizer and EMA, training loss and accuracy summed on the
device, validation with the same metrics, two checkpoints and a few TensorBoard scalars an epoch. Each runs in a process
of its own, and they train a few steps at a time in turns, so that what else the machine does meets all alike; what an
epoch took is the sum of its turns, all that its end brings with it counted in. The first and the last epoch are left
out, and the processes are started several times. A third side is ours with Lightning's stock loops in place of those of
`engine/`: what ours win over them is `over_stock`. The last line holds the model with the lowest ratio (the median over
all epochs), and all ratios.
"""

import argparse
import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datamodules import Npz
from datamodules.device_memory import DeviceMemory
from engine.allocator import keep_large_blocks
from engine.gpu_check import stop_probing_for_gpus
from lightning_modules import MLP, ResNet, SmallCNN
from lightning_modules.training.parameter_groups import build_optimizer
from measures.classification import classification_metrics
from pipelines.cli import image_cli
from pipelines.cli.image_cli import ImageCLI
from pipelines.main import quieten

# model, batch size, images on a CPU, images on a GPU, epochs, steps a turn on a CPU
CASES = {
    "MLP 128": (MLP, 128, 60_000, 100_000, 7, 24),
    "MLP 256": (MLP, 256, 60_000, 100_000, 7, 12),
    "SmallCNN 128": (SmallCNN, 128, 6_000, 100_000, 5, 2),
    "ResNet-18 128": (ResNet, 128, 512, 50_000, 5, 1),
    "ResNet-18 512": (ResNet, 512, 0, 50_000, 5, 1),
}
STEPS_ON_GPU = 24
SIDES = ("ours", "peer", "stock")
LR, DECAY = 0.001, 0.999


class Turns:
    """Seconds of a side's epochs, each trained in turns of a few steps while the other side waits.

    Args:
        mine: semaphore of this side's turn
        other: that of the other side
        device: that it trains on
        steps: a turn's number of steps
    """

    def __init__(self, mine, other, device, steps):
        self.mine, self.other, self.device, self.steps = mine, other, device, steps
        self.seconds, self.done = [], 0
        self.start = None

    def next_epoch(self):
        """Begin an epoch, in a turn that goes on or, at the first, when it is this side's."""
        if self.start is None:
            self.mine.acquire()
            self.start = time.perf_counter()
        else:
            self.change()
        self.seconds.append(0.0)
        self.done = 0

    def next_step(self):
        """Begin a step, in this turn or, if it is over, in the next."""
        if self.done and self.done % self.steps == 0:
            self.change()
        self.done += 1

    def change(self):
        """End a turn, and wait for the next."""
        synchronize(self.device)
        self.seconds[-1] += time.perf_counter() - self.start
        self.other.release()
        self.mine.acquire()
        self.start = time.perf_counter()

    def end(self):
        """Let the other side end too: both have as many turns."""
        self.other.release()


class Clock(Callback):
    """Take turns while training."""

    def __init__(self, turns):
        self.turns = turns

    def on_train_epoch_start(self, trainer, pl_module):
        self.turns.next_epoch()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.turns.next_step()

    def on_train_end(self, trainer, pl_module):
        self.turns.end()


class TimedCLI(ImageCLI):
    """The command line with a clock."""

    turns = None

    def instantiate_trainer(self, **kwargs):
        trainer = super().instantiate_trainer(**kwargs)
        trainer.callbacks.append(Clock(self.turns))
        return trainer


def synchronize(device):
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def options_of(model_class, device):
    options = {"stem": "cifar"} if model_class is ResNet else {}
    return options | ({"memory_format": "channels_last"} if model_class is ResNet and device.type == "cuda" else {})


def ours(model_class, path, batch, epochs, device, folder, turns):
    words = ["fit", f"--model={model_class.__name__}", "--data=Npz", f"--data.path={path}"]
    words += [f"--model.{name}={value}" for name, value in options_of(model_class, device).items()]
    words += [f"--data.batch_size={batch}", f"--trainer.max_epochs={epochs}", f"--run.root={folder}", "--run.name=ours"]
    words += [f"--ema.decay={DECAY}", f"--model.optimizer.lr={LR}", "--data.augmentation=[crop,flip]"]
    words += ["--trainer.accelerator=" + ("gpu" if device.type == "cuda" else "cpu"), "--trainer.devices=1"]
    TimedCLI.turns = turns
    TimedCLI(words + (["--trainer.precision=bf16-mixed"] if device.type == "cuda" else []))


def stock(*arguments):
    """Train as ours, with Lightning's own loops."""
    image_cli.use_lean_loop = lambda trainer: None
    ours(*arguments)


def peer(model_class, path, batch, epochs, device, folder, turns):
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
    if device.type == "cuda":
        # as ours does by itself
        memory = DeviceMemory()
        for served in (loader, val_loader):
            served.held = memory.hold(served.samples, device)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=epochs * len(loader) + 1)
    writer = SummaryWriter(folder)
    crop = CropFlip(device)
    autocast = torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else contextlib.nullcontext()
    for epoch in range(epochs):
        turns.next_epoch()
        model.train()
        loader.sampler.set_epoch(epoch)
        sums = torch.zeros(2, device=device)
        for batch_of_images in loader:
            turns.next_step()
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
    turns.end()
    writer.close()


class CropFlip:
    """Our augmentation, called by hand."""

    def __init__(self, device):
        self.generator = torch.Generator(device).manual_seed(0)

    def __call__(self, images):
        from datamodules.augmentation.transforms import augment

        return augment(images, ("crop", "flip"), self.generator)


def train(side, arguments, device, steps, mine, other, answer):
    """Train one side in a process of its own, and send the seconds of its epochs."""
    # train.py does this
    keep_large_blocks()
    stop_probing_for_gpus()
    quieten()
    turns = Turns(mine, other, device, steps)
    with Path(os.devnull).open("w") as hidden, contextlib.redirect_stdout(hidden):
        {"ours": ours, "stock": stock, "peer": peer}[side](*arguments, turns)
    # the first epoch warms up; the last has ended unseen
    answer.send(turns.seconds[1:-1])


def take_turns(arguments, device, steps, folder, order):
    """Train all sides in turns of some steps; return the seconds of each side's epochs.

    All have as many turns, so each has ended its last when the one before it in the order waits for it no more.
    """
    spawn = multiprocessing.get_context("spawn")
    # the first finds the caches as the last one left them
    semaphores = {side: spawn.Semaphore(int(side == order[0])) for side in order}
    receiving, processes = {}, []
    for side, other in zip(order, (*order[1:], order[0]), strict=True):
        receiving[side], sending = spawn.Pipe(duplex=False)
        own = Path(folder) / side
        own.mkdir(exist_ok=True)
        given = (side, (*arguments, device, str(own)), device, steps, semaphores[side], semaphores[other], sending)
        processes.append(spawn.Process(target=train, args=given))
        processes[-1].start()
        sending.close()
    seconds = {}
    try:
        while left := {end: side for side, end in receiving.items() if side not in seconds}:
            # a side that failed closes its end, and the other would wait for its turn for ever
            for end in multiprocessing.connection.wait(left):
                seconds[left[end]] = end.recv()
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="the MLP at batch 256 alone, for make bench")
    parser.add_argument("--only", help="one case, by its name")
    parser.add_argument("--images", type=int, help="in place of those of the case")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options = parser.parse_args()
    device = torch.device(options.device)
    names = [name for name, case in CASES.items() if case[2] or device.type == "cuda"]
    names = ["MLP 256"] if options.quick else [options.only] if options.only else names
    # the progress bar is drawn, though nobody sees it
    os.environ["FORCE_COLOR"] = "1"
    results = {}
    for name in names:
        model_class, batch, on_cpu, on_gpu, epochs, steps_on_cpu = CASES[name]
        count, steps = (on_gpu, STEPS_ON_GPU) if device.type == "cuda" else (on_cpu, steps_on_cpu)
        count = options.images or count
        rng = np.random.default_rng(0)
        shape = (28, 28, 1) if model_class is MLP else (32, 32, 3)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "data.npz"
            images = rng.integers(0, 256, (count, *shape), dtype=np.uint8)
            labels = rng.integers(0, 10, count)
            arrays = {"x_train": images, "y_train": labels, "x_test": images[:500], "y_test": labels[:500]}
            np.savez(path, **arrays)
            trained = count - count // 10
            rates, ratios, over_stock = {side: [] for side in SIDES}, [], []
            for repeat in range(options.repeats):
                order = (*SIDES[repeat % 3 :], *SIDES[: repeat % 3])
                seconds = take_turns((model_class, path, batch, epochs), device, steps, folder, order)
                for side, values in seconds.items():
                    rates[side] += [trained / value for value in values]
                epochs_of_pair = [right / left for left, right in zip(seconds["ours"], seconds["peer"], strict=True)]
                ratios += epochs_of_pair
                over_stock += [right / left for left, right in zip(seconds["ours"], seconds["stock"], strict=True)]
                print(f"{name}: ratios of epochs {', '.join(f'{ratio:.2f}' for ratio in epochs_of_pair)}", flush=True)
        results[name] = {side: round(statistics.median(values), 1) for side, values in rates.items()}
        results[name]["ratio"] = round(statistics.median(ratios), 3)
        results[name]["over_stock"] = round(statistics.median(over_stock), 3)
        spread = statistics.quantiles(over_stock, n=4)
        results[name]["over_stock_quartiles"] = [round(spread[0], 3), round(spread[2], 3)]
    worst = min(results, key=lambda name: results[name]["ratio"])
    print(json.dumps({**results[worst], "unit": "images/s", "case": worst, "device": str(device), "all": results}))


if __name__ == "__main__":
    main()
