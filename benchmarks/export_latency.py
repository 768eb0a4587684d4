"""Exported formats against eager torch: milliseconds for 1 and for 32 images, median and 95th percentile.

All formats of a model are run in turns in one process, so that what else the machine does meets all of them. The ratio
is the median over turns of torch's time over the format's. Models are trained ones, named by their runs or checkpoints;
where none is named they have random weights, which change no time. LiteRT is timed in the environment of `make litert`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from datamodules import DataInfo
from lightning_modules import EfficientNet, ResNet, SmallCNN, Timm
from lightning_modules.checkpoints import find_model, load_classifier
from pipelines.export import litert_files, onnx_files
from pipelines.export.graph import frozen, random_images
from pipelines.export.measures import parity
from pipelines.export.runners import of_module, open_file
from pipelines.export.weights import write_program

BATCHES = {1: 100, 32: 15}
WARMUP = 3


def info(pixels):
    names = [str(number) for number in range(10)]
    return DataInfo(10, 3, (pixels, pixels), names, [1] * 10, [0.5] * 3, [0.25] * 3)


# models of the sizes that they are used at, with random weights
UNTRAINED = {
    "small_cnn": lambda: SmallCNN(data_info=info(32)),
    "resnet18": lambda: ResNet(data_info=info(32), stem="cifar"),
    "lite0": lambda: EfficientNet(data_info=info(96), variant="lite0"),
    "mobilenetv3_small_100": lambda: Timm(data_info=info(96), name="mobilenetv3_small_100", input_size=96),
}


def write(module, images, folder, facts):
    """Write all formats that can be written here; return what runs each, and what could not be written."""
    files = {
        "onnx": folder / "model.onnx",
        "onnx-int8": folder / "model_int8.onnx",
        "torch-export": folder / "model.pt2",
    }
    onnx_files.write_onnx(module, images[:2], files["onnx"], facts)
    onnx_files.write_int8(files["onnx"], images, files["onnx-int8"], facts)
    write_program(module, images[:2], files["torch-export"])
    if find_spec("litert_torch") is not None:
        whole, small = folder / "model.tflite", folder / "model_int8.tflite"
        litert_files.write_litert(module, images[:2], whole)
        litert_files.write_int8(whole, images, small)
        files |= {"litert": whole, "litert-int8": small}
    return files


def times(runners, images, batch, turns):
    """Run all by turns; return the milliseconds of each turn, by name."""
    pictures = np.ascontiguousarray(np.resize(images, (batch, *images.shape[1:])))
    found = {name: [] for name in runners}
    for turn in range(WARMUP + turns):
        for name, run in runners.items():
            start = time.perf_counter()
            run(pictures)
            if turn >= WARMUP:
                found[name].append(1000 * (time.perf_counter() - start))
    return found


def measured(model, share):
    module = frozen(model.eval())
    images = random_images(model, 64)
    with tempfile.TemporaryDirectory() as folder:
        files = write(module, images, Path(folder), {})
        runners = {"torch": of_module(module)} | {kind: open_file(path, kind) for kind, path in files.items()}
        rows = {kind: {"bytes": path.stat().st_size} for kind, path in files.items()} | {"torch": {}}
        for kind in files:
            rows[kind] |= parity(runners["torch"], runners[kind], images.numpy())
        for batch, turns in BATCHES.items():
            found = times(runners, images.numpy(), batch, max(3, round(turns * share)))
            for kind, values in found.items():
                pairs = [theirs / own for theirs, own in zip(found["torch"], values, strict=True)]
                rows[kind] |= {
                    f"ms_{batch}": round(statistics.median(values), 3),
                    f"ms_{batch}_p95": round(statistics.quantiles(values, n=20)[-1], 3),
                    f"ratio_{batch}": round(statistics.median(pairs), 2),
                }
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=[], help="runs or checkpoints; none takes untrained models")
    parser.add_argument("--quick", action="store_true", help="the smallest model and few turns, for make bench")
    options = parser.parse_args()
    models = {path: partial(load_classifier, find_model(Path(path))) for path in options.models} or UNTRAINED
    if options.quick:
        models = dict(list(models.items())[:1])
    results = {}
    for name, make in models.items():
        results[name] = rows = measured(make(), 0.05 if options.quick else 1.0)
        for kind, row in rows.items():
            print(
                f"{name}, {kind}: 1 image {row['ms_1']} ms (95 %: {row['ms_1_p95']}), 32 images {row['ms_32']} ms "
                f"(95 %: {row['ms_32_p95']}); {row['ratio_1']}x and {row['ratio_32']}x as fast as torch"
            )
    first = next(iter(results.values()))
    ours, peer = first["onnx"]["ms_1"], first["torch"]["ms_1"]
    shown = {"ours": ours, "peer": peer, "ratio": first["onnx"]["ratio_1"], "unit": "ms"}
    print(json.dumps({**shown, "threads": torch.get_num_threads(), "all": results}))


if __name__ == "__main__":
    main()
