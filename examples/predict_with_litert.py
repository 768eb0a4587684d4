"""Classify images with an exported model.tflite: ai-edge-litert, numpy and Pillow alone, without this project or torch.

export.json, which lies beside the model, names the classes and the form of the images.

python predict_with_litert.py model_int8.tflite photo.jpg ...
"""

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps


def read(path, channels, height, width):
    """Turn upright, cut the largest part of the wanted shape out of the centre, and scale it."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def main(model, *paths):
    """Print the most probable class of each image, and its probability."""
    classes = json.loads(Path(model).with_name("export.json").read_text(encoding="utf-8"))["classes"]
    interpreter = Interpreter(model)
    interpreter.allocate_tensors()
    (into,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    _, channels, height, width = into["shape"]
    scale, zero = out["quantization"]
    for path in paths:
        interpreter.set_tensor(into["index"], read(path, channels, height, width)[None])
        interpreter.invoke()
        row = interpreter.get_tensor(out["index"])[0].astype(np.float32)
        # int8 stands for probabilities in steps of the scale
        row = (row - zero) * scale if scale else row
        print(f"{path}\t{classes[row.argmax()]}\t{row.max():.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
