"""What is written of each image."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.classifier import Classifier
from measures.conformal import NoSetsError, SetRule, set_rule
from measures.set_options import SetOptions
from pipelines.cli.predicted import set_texts
from pipelines.predict.options import PredictOptions

# more classes than this would make a table that nobody can read
MOST_COLUMNS = 1000


class Rows:
    """Makes a row of each image: its name, the classes, and why it could not be read.

    Args:
        model: that predicts
        options: of the command
    """

    def __init__(self, model: Classifier, options: PredictOptions) -> None:
        self.model, self.names = model, model.info.class_names
        self.top_k = min(options.top_k, len(self.names))
        self.each = options.probabilities and len(self.names) <= MOST_COLUMNS
        self.rejects = model.accepted(torch.zeros(1, len(self.names))) is not None
        # why there are no sets
        self.no_sets = ""
        self.rule: SetRule | None = None
        if options.coverage is not None:
            try:
                self.rule = set_rule(model.calibration, SetOptions(coverage=options.coverage), self.names)
            except NoSetsError as reason:
                self.no_sets = str(reason)
        columns = ["name", "class", "probability"]
        columns += ["accepted"] * self.rejects + ["set"] * (self.rule is not None)
        for place in range(2, self.top_k + 1):
            columns += [f"class_{place}", f"probability_{place}"]
        columns += [f"p({name})" for name in self.names] if self.each else []
        self.columns = [*columns, "error"]

    def of(self, names: Sequence[str], logits: Tensor | None, errors: Sequence[str]) -> list[dict[str, Any]]:
        """Make the rows of some images.

        Args:
            names: paths of the images
            logits: of those that could be read, in order, shape `(image, class)`; None for none
            errors: of each image, why it could not be read; empty for those that could
        """
        found = iter(self._predicted(logits) if logits is not None else ())
        return [
            {"name": name, "error": error} if error else {"name": name, **next(found), "error": ""}
            for name, error in zip(names, errors, strict=True)
        ]

    def _predicted(self, logits: Tensor) -> list[dict[str, Any]]:
        probabilities = logits.double().softmax(1)
        values, places = probabilities.topk(self.top_k, 1)
        rows = []
        accepted = self.model.accepted(logits) if self.rejects else None
        sets = None if self.rule is None else set_texts(self.rule.sets(logits), logits, self.names)
        for number in range(len(logits)):
            row: dict[str, Any] = {}
            for place, (value, label) in enumerate(zip(values[number].tolist(), places[number].tolist(), strict=True)):
                after = f"_{place + 1}" if place else ""
                row |= {f"class{after}": self.names[label], f"probability{after}": round(value, 6)}
            if accepted is not None:
                row["accepted"] = "yes" if accepted[number] else "no"
            if sets is not None:
                row["set"] = sets[number]
            if self.each:
                row |= {
                    f"p({name})": round(value, 6)
                    for name, value in zip(self.names, probabilities[number].tolist(), strict=True)
                }
            rows.append(row)
        return rows
