"""ONNX: the graph, what its file says of the model, and int8."""

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipelines.export.graph import Probabilities
from pipelines.export.quiet import quietly

# names in the graph
INPUT, OUTPUT = "image", "probability"
# resizing with antialiasing came with 18
OPSET = 20
# what is computed in int8; the rest, such as normalisation and softmax, is too small to matter
QUANTISED = ["Conv", "Gemm", "MatMul"]
# images computed at once during calibration
BATCH = 32


def check_installed() -> None:
    """Refuse to go on without the extra.

    Raises:
        ValueError: a package is missing
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if find_spec(name) is None]
    if missing:
        raise ValueError(
            f"--format onnx needs the extra onnx: pip install 'francesinha[onnx]' ({missing[0]} is missing)"
        )


def write_onnx(module: Probabilities, example: Tensor, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a graph that takes batches of any size.

    Args:
        module: what to export
        example: uint8 images, two at least
        path: of the file
        facts: what the file is to say of the model, as its metadata

    Raises:
        ValueError: an operation cannot be exported
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        with quietly():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
                verbose=False,
            )
    except Exception as error:
        # the exporter wraps whatever stopped it
        reason = str(error.__cause__ or error).strip().splitlines()
        name = type(module.model).__name__
        raise ValueError(f"{name} cannot be exported to ONNX ({reason[0] if reason else 'no reason given'})") from error
    assert program is not None
    program.save(path)
    _write_facts(path, facts)


def write_int8(source: Path, images: Tensor, path: Path, facts: Mapping[str, Any]) -> None:
    """Write a graph in int8, with a scale for each channel of the weights and fixed ranges of what flows between.

    Args:
        source: the graph in single precision
        images: of the training split, from which the ranges are taken, uint8, shape `(image, channel, height, width)`
        path: of the file
        facts: what the file is to say of the model
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = iter(images.split(BATCH))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {INPUT: batch.numpy()}

    prepared = path.with_name(f".{path.name}.prepared")
    try:
        with quietly():
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(path),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                op_types_to_quantize=QUANTISED,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
    finally:
        prepared.unlink(missing_ok=True)
    _write_facts(path, facts)


def read_facts(path: Path) -> dict[str, Any]:
    """Return what an ONNX file says of its model."""
    import onnx

    model = onnx.load(str(path), load_external_data=False)
    return {
        entry.key: json.loads(entry.value) for entry in model.metadata_props if entry.key.startswith("francesinha.")
    }


def _write_facts(path: Path, facts: Mapping[str, Any]) -> None:
    import onnx

    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {f"francesinha.{name}": json.dumps(value) for name, value in facts.items()})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
