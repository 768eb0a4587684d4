"""LiteRT: a .tflite of one image at a time, in single precision or int8, and the same as a C array."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from common.litert_seam import operations
from lightning_modules.preprocessing import Preprocessing
from pipelines.export.graph import Probabilities
from pipelines.export.quiet import quietly

# bytes of an array on one line of a C header
LINE = 16


def check_installed() -> None:
    """Refuse to go on outside of the environment of LiteRT.

    Raises:
        ValueError: a package is missing
    """
    missing = [name for name in ("litert_torch", "ai_edge_litert", "ai_edge_quantizer") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--format litert needs an environment of its own, because litert-torch brings many other packages "
            f"({missing[0]} is missing): make litert, and then .venv-litert/bin/python train.py export ..."
        )


class MatrixPreprocessing(nn.Module):
    """Preprocessing whose resizing is a product with fixed matrices, since LiteRT cannot resize with antialiasing.

    Args:
        original: what it takes the place of
        image_size: height and width of the images
    """

    def __init__(self, original: Preprocessing, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.rows = nn.Buffer(resizing(image_size[0], original.input_size[0]))
        self.columns = nn.Buffer(resizing(image_size[1], original.input_size[1]))
        self.offset = nn.Buffer(255 * original.mean)
        self.factor = nn.Buffer(1 / (255 * original.std))

    def forward(self, images: Tensor) -> Tensor:
        """Prepare a batch: from uint8 `(batch, channel, height, width)` to float of the network's size."""
        return (self.rows @ images.float() @ self.columns.T - self.offset) * self.factor


def resizing(before: int, after: int) -> Tensor:
    """Return the matrix that resizes a column of pixels as torch does, shape `(after, before)`."""
    # of two columns: torch takes a single one for channels that come last, and resizes wrongly
    columns = torch.eye(before)[None, :, :, None].repeat(1, 1, 1, 2)
    return nn.functional.interpolate(columns, (after, 2), mode="bilinear", antialias=True)[0, :, :, 0].T.contiguous()


def exportable(module: Probabilities) -> Probabilities:
    """Copy a module, with resizing that LiteRT can compute."""
    size, copy = module.model.info.image_size, deepcopy(module)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, Preprocessing) and child.input_size != size:
                setattr(parent, name, MatrixPreprocessing(child, size))
    return copy


@contextmanager
def single_precision() -> Iterator[None]:
    """Compute in 32 bits what is computed in 64, such as means of probabilities: LiteRT has no 64."""
    with patch.object(Tensor, "double", Tensor.float):
        yield


def write_litert(module: Probabilities, example: Tensor, path: Path) -> None:
    """Write a graph that takes one image at a time.

    Args:
        module: what to export
        example: uint8 images, one at least
        path: of the file

    Raises:
        ValueError: an operation cannot be exported
    """
    import litert_torch

    try:
        with quietly(), single_precision():
            litert_torch.convert(exportable(module).eval(), (example[:1].contiguous(),)).export(str(path))
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        name = type(module.model).__name__
        raise ValueError(f"{name} cannot be exported to LiteRT ({reason}): use --format onnx") from error


def write_int8(source: Path, images: Tensor, path: Path) -> None:
    """Write a graph in int8, with a scale for each channel of the weights and fixed ranges of what flows between.

    Args:
        source: the graph in single precision
        images: of the training split, from which the ranges are taken, uint8, shape `(image, channel, height, width)`
        path: of the file
    """
    from ai_edge_quantizer import qtyping, quantizer, recipe

    signature, taken = next(iter(interpreter(source).get_signature_list().items()))
    name = taken["inputs"][0]
    with quietly():
        quantizing = quantizer.Quantizer(str(source), recipe.static_wi8_ai8())
        # products with resizing matrices: LiteRT computes none by channel
        quantizing.update_quantization_recipe(
            f".*{MatrixPreprocessing.__name__}.*", qtyping.TFLOperationName.ALL_SUPPORTED, algorithm_key="no_quantize"
        )
        ranges = quantizing.calibrate({signature: [{name: image[None].numpy()} for image in images]})
        content = quantizing.quantize(ranges).quantized_model
    path.write_bytes(content)


def interpreter(path: Path, threads: int = 1) -> Any:
    """Open a .tflite.

    Args:
        path: of the file
        threads: that it runs on
    """
    from ai_edge_litert.interpreter import Interpreter

    opened = Interpreter(str(path), num_threads=threads)
    opened.allocate_tensors()
    return opened


def probabilities(opened: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Compute the probabilities of images, one at a time.

    Args:
        opened: as `interpreter` returns it
        images: uint8, shape `(image, channel, height, width)`
    """
    (into,), (out,) = opened.get_input_details(), opened.get_output_details()
    scale, zero = out["quantization"]
    rows = []
    for image in images:
        opened.set_tensor(into["index"], image[None])
        opened.invoke()
        row = opened.get_tensor(out["index"])[0]
        rows.append((row.astype(np.float32) - zero) * scale if scale else row)
    found: NDArray[np.float32] = np.stack(rows).astype(np.float32)
    return found


def details(path: Path) -> dict[str, Any]:
    """Return what a program that runs a .tflite must know of it, as plain Python types.

    Returns:
        `input` and `output` (`name`, `dtype`, `shape`, `scale`, `zero_point`; a scale of 0 where nothing is quantised),
        and `tensor_bytes`, see `tensor_bytes`
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    # without a delegate, which would hide the operations
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    opened = Interpreter(str(path), experimental_op_resolver_type=plain)
    opened.allocate_tensors()
    ends = {"input": opened.get_input_details()[0], "output": opened.get_output_details()[0]}
    tensors = {tensor["index"]: tensor for tensor in opened.get_tensor_details()}
    return {
        **{name: described(end) for name, end in ends.items()},
        "tensor_bytes": tensor_bytes(
            {index: int(np.prod(t["shape"])) * np.dtype(t["dtype"]).itemsize for index, t in tensors.items()},
            operations(opened),
            [end["index"] for end in ends.values()],
        ),
    }


def described(tensor: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of a tensor, as plain Python types."""
    scale, zero = tensor["quantization"]
    return {
        "name": tensor["name"],
        "dtype": np.dtype(tensor["dtype"]).name,
        "shape": [int(side) for side in tensor["shape"]],
        "scale": float(scale),
        "zero_point": int(zero),
    }


def tensor_bytes(sizes: Mapping[int, int], steps: list[tuple[list[int], list[int]]], ends: list[int]) -> int:
    """Return the bytes of the tensors that a graph needs at once, at most: the least that an arena must hold.

    A runtime adds its own structures and the gaps between tensors.

    Args:
        sizes: bytes of each tensor
        steps: the tensors that each operation reads and writes, in order
        ends: the graph's input and output

    Example:
        >>> tensor_bytes({0: 4, 1: 8, 2: 2, 9: 100}, [([0, 9], [1]), ([1], [2])], [0, 2])
        12
    """
    written = {tensor for _, outputs in steps for tensor in outputs} | set(ends)
    last: dict[int, int] = {}
    first: dict[int, int] = {}
    for number, (inputs, outputs) in enumerate(steps):
        for tensor in (*inputs, *outputs):
            # constants are in the file
            if tensor in written:
                first.setdefault(tensor, number)
                last[tensor] = number
    alive = [
        sum(sizes[tensor] for tensor in first if first[tensor] <= number <= last[tensor])
        for number in range(len(steps))
    ]
    return max(alive, default=0)


def write_header(source: Path, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a .tflite as an array in C, as a project for a microcontroller includes it.

    Args:
        source: the .tflite
        path: of the header
        facts: what `details` returned
    """
    name = source.name.replace(".", "_").replace("-", "_")
    content = source.read_bytes()
    lines = [", ".join(f"0x{byte:02x}" for byte in content[at : at + LINE]) for at in range(0, len(content), LINE)]
    path.write_text(
        "\n".join(
            [
                f"/* {source.name}",
                *(f" * {end}: {spoken(facts[end])}" for end in ("input", "output")),
                " * The arena must hold these tensors, and the runtime's own structures. */",
                f"#ifndef {name.upper()}_H",
                f"#define {name.upper()}_H",
                f"#define {name.upper()}_TENSOR_BYTES {facts['tensor_bytes']}",
                "#ifdef __cplusplus",
                "alignas(16)",
                "#else",
                "_Alignas(16)",
                "#endif",
                f"static const unsigned char {name}[] = {{",
                *(f"  {line}," for line in lines),
                "};",
                f"static const unsigned int {name}_len = {len(content)};",
                "#endif",
                "",
            ]
        ),
        encoding="ascii",
    )


def spoken(end: Mapping[str, Any]) -> str:
    """Say of what form an input or output is.

    Example:
        >>> spoken({"dtype": "int8", "shape": [1, 10], "scale": 0.00390625, "zero_point": -128})
        'int8, shape (1, 10), value 0.00390625 * (q - -128)'
    """
    form = f"{end['dtype']}, shape ({', '.join(map(str, end['shape']))})"
    return f"{form}, value {end['scale']:g} * (q - {end['zero_point']})" if end["scale"] else form
