"""Exported files, opened and run as a stranger would."""

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file

from lightning_modules.checkpoints import build_classifier, load_classifier
from pipelines.export.graph import frozen
from pipelines.export.litert_files import interpreter, probabilities
from pipelines.export.options import Format
from pipelines.export.weights import architecture_beside

# from uint8 images (image, channel, height, width) to probabilities (image, class)
Runner = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def open_file(path: Path, kind: Format) -> Runner:
    """Open an exported file.

    Args:
        path: of the file
        kind: its format

    Returns:
        what computes its probabilities

    Raises:
        ValueError: it cannot be read
    """
    opener = {
        "onnx": _onnx,
        "onnx-int8": _onnx,
        "litert": _litert,
        "litert-int8": _litert,
        "torch-export": _program,
        "safetensors": _weights,
        "checkpoint": _checkpoint,
    }[kind]
    try:
        return opener(path)
    except OSError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is no {kind} file that can be read ({reason}): export it again") from error


def of_module(module: torch.nn.Module) -> Runner:
    """Run a module of torch."""

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        with torch.inference_mode():
            probabilities: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
        return probabilities

    return run


def _onnx(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # its warnings are about its own choice of nodes
    options.log_severity_level = 3
    # as many threads as torch has beside it, which do not keep cores busy while they wait
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        (probabilities,) = session.run(None, {name: images})
        found: NDArray[np.float32] = probabilities
        return found

    return run


def _litert(path: Path) -> Runner:
    opened = interpreter(path, torch.get_num_threads())
    return lambda images: probabilities(opened, images)


def _program(path: Path) -> Runner:
    with warnings.catch_warnings():
        # on buffers of its own
        warnings.filterwarnings("ignore", "The given buffer is not writable")
        program = torch.export.load(io.BytesIO(path.read_bytes()))
    return of_module(program.module())


def _checkpoint(path: Path) -> Runner:
    return of_module(frozen(load_classifier(path)))


def _weights(path: Path) -> Runner:
    model = build_classifier(architecture_beside(path), str(path))
    model.load_state_dict(load_file(path))
    return of_module(frozen(model.eval()))
