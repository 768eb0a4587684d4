"""Three MLPs and a meta-MLP on 28x28 images, as a notebook trains them, against ours.

The notebook's way: transforms of each sample, a DataLoader (the best of 0 and 2 workers, found before), Adam, and
`loss.item()` in each step; the meta-MLP is trained on held-out images, whose base logits are computed anew in each
epoch. Ours: the same networks, optimizer, batches and epochs through DataModule, Trainer and StackingModule. Both sides
validate each epoch, and are tested on the same images. Images are generated: blurred prototypes of ten classes in
strong noise.
"""

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import datamodules.dataset
from common.options import configurable
from datamodules import ImageDataModule
from engine.allocator import keep_large_blocks
from engine.gpu_check import stop_probing_for_gpus
from engine.training_loop import use_lean_loop
from ensembling.heads.fitting import MLPHead
from lightning_modules import MLP, StackingModule

MEMBERS, EPOCHS, BATCH, LR, HIDDEN, META_HIDDEN = 3, 10, 128, 0.001, [256, 256], 64
HELD, TEST = 2_000, 4_000


def generate(count, seed):
    """Images (sample, 28, 28, 1) and labels (sample,)."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed)
    coarse = fixed.normal(size=(10, 7, 7))
    prototypes = np.kron(coarse, np.ones((4, 4)))
    labels = rng.integers(0, 10, count)
    images = 128 + 12 * prototypes[labels] + rng.normal(scale=55, size=(count, 28, 28))
    return images.clip(0, 255).astype(np.uint8)[..., None], labels


# ours


@configurable
class Generated(ImageDataModule):
    """Generated images.

    Args:
        count: training images of the members
    """

    count: int = 20_000
    batch_size: int = BATCH

    def load(self):
        total = self.count + 2 * HELD
        arrays = {"train": generate(total, 1), "test": generate(TEST, 2)}
        return datamodules.dataset.array_dataset(arrays, list("0123456789"), None)


def trainer(folder, epochs=EPOCHS):
    built = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )
    # train.py does this
    use_lean_loop(built)
    return built


def ours(count, folder):
    share = HELD / (count + 2 * HELD)
    data = Generated(count=count, val_fraction=share, stack_fraction=share)
    paths = []
    for seed in range(MEMBERS):
        pl.seed_everything(seed, verbose=False)
        model = MLP(data_info=data.info, hidden=HIDDEN, optimizer=lambda p: torch.optim.Adam(p, lr=LR), schedule=None)
        fitting = trainer(folder)
        fitting.fit(model, datamodule=data)
        paths.append(Path(folder) / f"member{seed}.ckpt")
        fitting.save_checkpoint(paths[-1])
    stack = StackingModule(
        data_info=data.info,
        bases=[str(path) for path in paths],
        meta_model=MLPHead(hidden=[META_HIDDEN]),
        # a second repeat must not find what the first has computed
        logit_cache=None,
        optimizer=lambda p: torch.optim.Adam(p, lr=LR),
        schedule=None,
    )
    fitting = trainer(folder)
    fitting.fit(stack, datamodule=data)
    fitting.test(stack, datamodule=data, verbose=False)
    return [member["accuracy"] for member in stack.members[:MEMBERS]], stack.metrics["accuracy"]


# the notebook's way


class Images(Dataset):
    """Samples one by one, as torchvision's MNIST serves them."""

    def __init__(self, images, labels):
        self.images, self.labels = images, labels
        self.transform = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.5,), (0.25,))]
        )

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = v2.functional.to_pil_image(self.images[index])
        return self.transform(image), int(self.labels[index])


def mlp(hidden, width):
    layers = [nn.Flatten()]
    for following in hidden:
        layers += [nn.Linear(width, following), nn.BatchNorm1d(following), nn.ReLU(), nn.Dropout(0.3)]
        width = following
    return nn.Sequential(*layers, nn.Linear(width, 10))


def accuracy(predict, loader):
    hits = total = 0
    with torch.no_grad():
        for images, labels in loader:
            hits += (predict(images).argmax(1) == labels).sum().item()
            total += len(labels)
    return hits / total


def train(model, inputs, loader, val_loader):
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    for _ in range(EPOCHS):
        model.train()
        running = 0.0
        for images, labels in loader:
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(inputs(images)), labels)
            loss.backward()
            optimizer.step()
            running += loss.item()
        model.eval()
        accuracy(lambda images: model(inputs(images)), val_loader)


def notebook(count, workers):
    images, labels = generate(count + 2 * HELD, 1)
    parts = {"train": slice(0, count), "val": slice(count, count + HELD), "stack": slice(count + HELD, None)}
    loaders = {
        name: DataLoader(Images(images[part], labels[part]), BATCH, shuffle=name != "val", num_workers=workers)
        for name, part in parts.items()
    }
    test = DataLoader(Images(*generate(TEST, 2)), BATCH, num_workers=workers)
    members = []
    for seed in range(MEMBERS):
        torch.manual_seed(seed)
        member = mlp(HIDDEN, 784)
        train(member, lambda images: images, loaders["train"], loaders["val"])
        members.append(member)

    def logits(images):
        with torch.no_grad():
            return torch.cat([member(images) for member in members], 1)

    meta = nn.Sequential(nn.Linear(10 * MEMBERS, META_HIDDEN), nn.ReLU(), nn.Linear(META_HIDDEN, 10))
    train(meta, logits, loaders["stack"], loaders["val"])
    return [accuracy(member, test) for member in members], accuracy(lambda images: meta(logits(images)), test)


def timed(run, *arguments):
    start = time.perf_counter()
    result = run(*arguments)
    return time.perf_counter() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fewer images and one repeat, for make bench")
    options = parser.parse_args()
    count, repeats = (4_000, 1) if options.quick else (options.images, options.repeats)
    # many short fits would repeat their warnings
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    keep_large_blocks()
    stop_probing_for_gpus()
    workers = min((0, 2), key=lambda n: timed(notebook, 2_000, n)[0])
    with tempfile.TemporaryDirectory() as folder:
        ours(2_000, folder)
        seconds = {"ours": [], "peer": []}
        for repeat in range(repeats):
            left, (our_members, our_stack) = timed(ours, count, folder)
            right, (their_members, their_stack) = timed(notebook, count, workers)
            seconds["ours"].append(left)
            seconds["peer"].append(right)
            print(f"repeat {repeat}: ours {left:.1f} s, notebook {right:.1f} s ({workers} workers)")
            for name, members, stack in (("ours", our_members, our_stack), ("notebook", their_members, their_stack)):
                print(f"  {name}: members {', '.join(f'{m:.4f}' for m in members)}, stack {stack:.4f}", flush=True)
    left, right = statistics.median(seconds["ours"]), statistics.median(seconds["peer"])
    result = {"ours": round(left, 2), "peer": round(right, 2), "unit": "s", "ratio": round(right / left, 2)}
    accuracies = {"our_stack": our_stack, "notebook_stack": their_stack}
    print(json.dumps({**result, **accuracies, "images": count, "repeats": repeats}))


if __name__ == "__main__":
    main()
