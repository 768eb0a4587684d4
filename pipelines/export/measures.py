"""What is measured of exported files: agreement with torch, accuracy, size and time."""

import statistics
import time
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from datamodules.samples import Samples
from pipelines.export.graph import Probabilities
from pipelines.export.runners import Runner

# batches that files are compared with torch on
PARITY_BATCHES = (1, 2, 7)
# batches that are timed, and how often each, in turns
TIMED, REPEATS, WARMUP = {1: 30, 32: 7}, 5, 2
# images computed at once where accuracy is measured
BATCH = 64
CHUNK = 1 << 20


def parity(ours: Runner, theirs: Runner, images: NDArray[np.uint8]) -> dict[str, Any]:
    """Compare the probabilities of a file with those of torch, in batches of 1, 2 and 7 images.

    Args:
        ours: of torch
        theirs: of the file
        images: uint8, shape `(image, channel, height, width)`, 10 at least
    """
    largest, agree, count, at = 0.0, 0, 0, 0
    for size in PARITY_BATCHES:
        batch = images[at : at + size]
        left, right = ours(batch), theirs(batch)
        largest = max(largest, float(np.abs(left - right).max()))
        agree += int((left.argmax(1) == right.argmax(1)).sum())
        count, at = count + len(batch), at + size
    return {"largest_difference": largest, "top1_agreement": agree / count, "images": count}


def accuracy(run: Runner, samples: Samples) -> float:
    """Measure the accuracy of a file on labelled samples."""
    right = 0
    for rows in torch.arange(len(samples)).split(BATCH):
        probabilities = run(images_of(samples, rows))
        right += int((torch.from_numpy(probabilities).argmax(1) == samples.labels[rows]).sum())
    return right / len(samples)


def images_of(samples: Samples, rows: torch.Tensor) -> NDArray[np.uint8]:
    """Return some samples' images, uint8, shape `(image, channel, height, width)`."""
    images: NDArray[np.uint8] = samples.source.gather(samples.rows[rows]).contiguous().numpy()
    return images


def latencies(runners: Mapping[str, Runner], images: NDArray[np.uint8]) -> dict[str, dict[str, float]]:
    """Time all files in turns, so that what else the machine does meets all of them.

    Args:
        runners: by name
        images: uint8, shape `(image, channel, height, width)`; repeated to fill a batch

    Returns:
        of each, milliseconds a batch of 1 and of 32 images: median, and the 95th percentile
    """
    found: dict[str, dict[str, float]] = {name: {} for name in runners}
    for size, repeats in TIMED.items():
        batch = np.resize(images, (size, *images.shape[1:]))
        seconds: dict[str, list[float]] = {name: [] for name in runners}
        for turn in range(WARMUP + REPEATS * repeats):
            for name, run in runners.items():
                start = time.perf_counter()
                run(batch)
                if turn >= WARMUP:
                    seconds[name].append(1000 * (time.perf_counter() - start))
        for name, times in seconds.items():
            found[name] |= {
                f"ms_{size}": round(statistics.median(times), 4),
                f"ms_{size}_p95": round(statistics.quantiles(times, n=20)[-1], 4),
            }
    return found


def sizes(path: Path) -> dict[str, int]:
    """Measure a file: bytes, and bytes once compressed by zlib."""
    packer, packed = zlib.compressobj(6), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            packed += len(packer.compress(chunk))
    return {"bytes": path.stat().st_size, "compressed_bytes": packed + len(packer.flush())}


def macs(module: Probabilities, images: NDArray[np.uint8]) -> int:
    """Count the multiplications of one image."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.from_numpy(images[:1]))
    return int(counter.get_total_flops() // 2)
