"""What a model costs at inference."""

import statistics
import time

import torch
from torch import Tensor, nn

# runs before the clock starts: libraries choose their kernels, and memory is got
WARMUP = 2


@torch.inference_mode()
def ms_per_image(
    model: nn.Module, images: Tensor, device: torch.device | str | None = None, repeats: int = 7, warmup: int = WARMUP
) -> float:
    """Measure how long a model takes for an image of a batch, preprocessing included.

    The median of several runs: what else the machine does disturbs some of them. Precision is the caller's: call it
    under autocast for a model that is run so.

    Args:
        model: from uint8 images to logits; is moved to the device and put into evaluation mode for the measurement
        images: one batch of the size that is meant, uint8, shape `(batch, channel, height, width)`
        device: where to run; null is where the model is
        repeats: runs that are timed
        warmup: runs before them

    Returns:
        milliseconds an image

    Raises:
        ValueError: there is no image, or nothing is to be timed
    """
    if not len(images) or repeats < 1:
        raise ValueError(f"a time needs at least one image and one run, not {len(images)} and {repeats}")
    home = next((part.device for part in (*model.parameters(), *model.buffers())), torch.device("cpu"))
    where, training = torch.device(device or home), [module for module in model.modules() if module.training]
    model.to(where).eval()
    images = images.to(where)
    try:
        seconds = [_run(model, images) for _ in range(warmup + repeats)][warmup:]
    finally:
        model.to(home)
        for module in training:
            module.training = True
    return 1000 * statistics.median(seconds) / len(images)


def _run(model: nn.Module, images: Tensor) -> float:
    started = time.perf_counter()
    model(images)
    if images.device.type == "cuda":
        torch.cuda.synchronize(images.device)
    return time.perf_counter() - started
