"""Classify images with an exported model.onnx: onnxruntime, numpy and Pillow alone, without this project or torch.

python predict_with_onnx.py model.onnx photo.jpg ...
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def read(path, channels, height, width):
    """Turn upright, cut the largest part of the wanted shape out of the centre, and scale it."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB" if channels == 3 else "L")
    pixels = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR))
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def main(model, *paths):
    """Print the most probable class of each image, and its probability."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    classes = json.loads(facts["francesinha.classes"])
    _, channels, height, width = json.loads(facts["francesinha.input"])["shape"]
    images = np.stack([read(path, channels, height, width) for path in paths])
    (probabilities,) = session.run(None, {"image": images})
    for path, row in zip(paths, probabilities, strict=True):
        print(f"{path}\t{classes[row.argmax()]}\t{row.max():.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
