"""What a stack makes of its members."""

from typing import ClassVar

import numpy as np

from callbacks.drawing.base import Drawn, Evaluated, EvaluationDrawing
from ensembling.heads.networks import Logistic


class StackDecisions(EvaluationDrawing):
    """Draw where a stack repaired or broke its members' decisions, and the weights of a linear head.

    Nothing is drawn of models that are no stack.
    """

    subject: ClassVar[str] = "stack"

    def __init__(self) -> None:
        super().__init__()

    def draw(self, evaluated: Evaluated) -> Drawn:
        """Yield the figures."""
        from figures.stack import class_decisions, head_weights, stack_decisions

        stack, members = evaluated.model, evaluated.model.member_names
        if not members:
            return
        names, title = evaluated.class_names, evaluated.title
        # rows are found by id, because the predictions are sorted by id
        served = evaluated.trainer.datamodule.served(evaluated.split)  # type: ignore[attr-defined]
        position = {number: row for row, number in enumerate(served.ids.tolist())}
        rows = served.rows[[position[number] for number in evaluated.ids.tolist()]]
        decided = served.source.gather(rows).argmax(2).numpy()
        decisions = (evaluated.labels, decided, evaluated.predicted, members)
        yield "stack_decisions", stack_decisions(*decisions, title=title)
        best = int((decided == evaluated.labels[:, None]).mean(0).argmax())
        against = (evaluated.labels, decided[:, best], evaluated.predicted, names, members[best])
        yield "stack_by_class", class_decisions(*against, title=title)
        if isinstance(stack.head, Logistic):
            weights = stack.head.weight.detach().cpu().double().numpy()
            shaped = np.reshape(weights, (len(names), len(members), len(names)))
            yield "head_weights", head_weights(shaped, members, names, f"{title}, weights of the head")
