"""How torch finds out that there is no GPU."""

import os

import torch


def stop_probing_for_gpus() -> None:
    """Let torch remember that there is no GPU, instead of looking for NVIDIA's library again in each step.

    Its optimizers ask at every step. Lightning makes that question safe for processes that are forked before they use
    a GPU, by a way that loads the library each time; where there is none, there is nothing to be kept safe.
    """
    if not torch.cuda.is_available():
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
