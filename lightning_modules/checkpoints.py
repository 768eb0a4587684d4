"""Models rebuilt from checkpoints, loaded safely."""

import hashlib
import importlib
import pickle
from pathlib import Path
from typing import Any

import torch

from datamodules.info import DataInfo
from lightning_modules.classifier import ImageClassifier


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint's content without running code from it.

    Args:
        path: the file

    Raises:
        FileNotFoundError: there is no such file
        ValueError: it is not a whole checkpoint, or not one of ours
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        # torch goes on with advice that would run what is in the file
        reason = str(error).splitlines()[0].partition(" In PyTorch")[0]
        raise ValueError(f"{path} cannot be read as a checkpoint: {reason}") from error
    if not isinstance(checkpoint, dict) or "architecture" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of this project: it does not say which model it holds")
    return checkpoint


def load_classifier(path: Path) -> ImageClassifier:
    """Rebuild a classifier from its checkpoint, on the CPU and in evaluation mode.

    Args:
        path: a checkpoint of `python train.py fit`

    Raises:
        FileNotFoundError: there is no such file
        ValueError: it does not hold a classifier, or its weights do not fit
    """
    checkpoint = read_checkpoint(path)
    if "bases" in checkpoint:
        raise ValueError(f"{path} holds a stack; a stack's bases are classifiers on images")
    class_path, options = checkpoint["architecture"]["class_path"], dict(checkpoint["architecture"]["init_args"])
    module, _, name = class_path.rpartition(".")
    try:
        model_class = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path} holds a {class_path}, which is not installed here") from error
    if not (isinstance(model_class, type) and issubclass(model_class, ImageClassifier)):
        raise ValueError(f"{path} holds a {class_path}, which is not an ImageClassifier")
    model = model_class(**options | {"data_info": DataInfo.from_plain(options["data_info"])})
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise ValueError(f"{path}: the weights do not fit {name}: {error}") from error
    model.on_load_checkpoint(checkpoint)
    return model.eval()


def file_sha256(path: Path) -> str:
    """Hash a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
