"""The table that `predict` writes."""

import csv

from callbacks.recorder import keep_earlier
from datamodules.samples import Samples
from lightning_modules import ImageClassifier
from pipelines.run_dir import RunDir


def write_predicted(run: RunDir, samples: Samples, model: ImageClassifier) -> str:
    """Write one row a sample: its name, the predicted class and that class's probability.

    Args:
        run: where to write
        samples: the samples predicted on
        model: holds the predictions
    """
    names = dict(zip(samples.ids.tolist(), samples.sample_names(), strict=True))
    confidence, label = model.predictions["logits"].double().softmax(1).max(1)
    keep_earlier(run.predicted)
    with run.predicted.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "class", "probability"])
        for sample, number, probability in zip(
            model.predictions["id"].tolist(), label.tolist(), confidence.tolist(), strict=True
        ):
            writer.writerow([names[sample], model.info.class_names[number], f"{probability:.6f}"])
    return str(run.predicted)
