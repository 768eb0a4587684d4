"""What a stack makes of its members."""

from typing import ClassVar

import numpy as np

from callbacks.drawing.base import Drawn, Evaluated, EvaluationDrawing
from ensembling.heads.logistic import Logistic
from lightning_modules.stacking import StackingModule


class StackDecisions(EvaluationDrawing):
    """Draw where a stack repaired or broke its members' decisions, and the weights of a linear head.

    Nothing is drawn of models that are no stack.
    """

    subject: ClassVar[str] = "stack"

    def __init__(self) -> None:
        super().__init__()

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures import class_decisions, head_weights, stack_decisions

        stack = evaluated.model
        if not isinstance(stack, StackingModule):
            return
        names, title = evaluated.class_names, evaluated.title
        # by id, as the predictions are
        served = evaluated.trainer.datamodule.served(evaluated.split)  # type: ignore[attr-defined]
        position = {number: row for row, number in enumerate(served.ids.tolist())}
        rows = served.rows[[position[number] for number in evaluated.ids.tolist()]]
        members = served.source.gather(rows).argmax(2).numpy()
        decisions = (evaluated.labels, members, evaluated.predicted, stack.base_names)
        yield "stack_decisions", stack_decisions(*decisions, title=title)
        best = int((members == evaluated.labels[:, None]).mean(0).argmax())
        against = (evaluated.labels, members[:, best], evaluated.predicted, names, stack.base_names[best])
        yield "stack_by_class", class_decisions(*against, title=title)
        if isinstance(stack.head, Logistic):
            weights = stack.head.weight.detach().cpu().double().numpy()
            shaped = np.reshape(weights, (len(names), len(stack.base_names), len(names)))
            yield "head_weights", head_weights(shaped, stack.base_names, names, f"{title}, weights of the head")
