"""Francesinha from Python: predict with trained models, and run what the command line runs.

Example:
    import francesinha

    folder = francesinha.fit({"model": "SmallCNN", "trainer.max_epochs": 5})
    predictor = francesinha.load(folder)
    predictor.predict(["photo.jpg"]), predictor.predict_proba(images), predictor.classes_

Public names: `load`, `Predictor`, `TablePredictor`, `fit`, `test`, `stack`, `sweep`, `report`, `CommandError`.
"""

from collections.abc import Sequence
from pathlib import Path

from common import class_paths
from lightning_modules.checkpoints import find_model, reads
from pipelines.predict.predictor import Predictor
from pipelines.predict.table_predictor import TablePredictor, table_predictor
from pipelines.python.commands import CommandError, fit, report, stack, sweep, test

__all__ = ["CommandError", "Predictor", "TablePredictor", "fit", "load", "report", "stack", "sweep", "test"]


def load(
    path: str | Path, device: str = "auto", batch_size: int = 64, allow: Sequence[str] = ()
) -> Predictor | TablePredictor:
    """Load a trained model.

    Args:
        path: a run's folder, a checkpoint, or a stack's folder
        device: such as cpu, cuda or cuda:1; auto takes a GPU where there is one
        batch_size: images computed at once
        allow: modules or classes beyond this project that the checkpoint may name

    Returns:
        it, with `predict`, `predict_proba`, `embed`, `explain` and `card`; one of a table with `predict`, of classes
        `predict_proba`, and `card`

    Raises:
        FileNotFoundError: there is no checkpoint
        ValueError: it is damaged, or no classifier; or an argument is wrong
    """
    class_paths.trust(*allow)
    if reads(find_model(Path(path))) == "table":
        return table_predictor(path, device)
    return Predictor(path, device, batch_size)
