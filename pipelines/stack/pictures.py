"""Pictures of a finished stack: its members against it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lightning.pytorch.utilities import rank_zero_warn

from ensembling.heads.networks import Logistic
from measures.set_coverage import spoken
from pipelines.stack.result import Stack

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# all that is drawn here
PICTURES = ("test_stack_*.png", "head_weights_*.png", "test_prediction_sets.png")


def draw_stack(stack: Stack) -> list[str]:
    """Draw a stack into its run's folder; what cannot be drawn is reported, since the results are written by then.

    Args:
        stack: that has been written

    Returns:
        the files
    """
    files = []
    for pattern in PICTURES:
        # pictures of an earlier stack in this folder
        for old in stack.run.figures.glob(pattern):
            old.unlink()
    try:
        for name, figure in figures(stack):
            stack.run.figures.mkdir(parents=True, exist_ok=True)
            path = stack.run.figures / f"{name}.png"
            figure.savefig(path, dpi=120)
            files.append(str(path))
    except Exception as error:
        rank_zero_warn(f"figures of the stack not drawn: {str(error).strip() or type(error).__name__}")
    return files


def figures(stack: Stack) -> Iterator[tuple[str, "Figure"]]:
    """Yield the figures with their names: repaired and broken decisions, prediction sets, and linear heads' weights.

    Args:
        stack: with its kept model
    """
    # slow to import
    from figures.prediction_sets import prediction_sets
    from figures.stack import class_decisions, head_weights, stack_decisions

    names, classes = stack.names, stack.data.dataset.class_names
    leaked = ", LEAKAGE ALLOWED" if stack.leakage.problems() else ""
    title = f"{stack.chosen}: {len(stack.test.ids):,} test images{leaked}"
    labels, members = stack.test.labels.numpy(), stack.test.logits.argmax(2).numpy()
    decided = stack.delivered(stack.tested).argmax(1).numpy()
    yield "test_stack_decisions", stack_decisions(labels, members, decided, names, title=title)
    best = str(stack.report["best_member"]["held_out"])
    against = members[:, names.index(best)]
    yield "test_stack_by_class", class_decisions(labels, against, decided, classes, best, title=title)
    if "missing" not in stack.sets:
        yield "test_prediction_sets", prediction_sets(stack.sets, f"{title}\n{spoken(stack.sets)}")
    for name, head in stack.heads.items():
        if isinstance(head.module, Logistic):
            weights = head.module.weight.detach().double().numpy().reshape(len(classes), len(names), len(classes))
            yield f"head_weights_{name.replace(' ', '_')}", head_weights(weights, names, classes, f"weights of {name}")
