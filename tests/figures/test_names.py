"""Every class is named in every figure, whatever its name."""

import numpy as np
import pytest
from matplotlib.text import Text

from figures.class_distribution import class_distribution
from figures.confusions import confusions
from figures.embeddings import class_spread
from figures.stack import class_decisions, head_weights
from figures.style import legend, new_figure, shortened
from measures.per_class import confusion_counts
from tests.figures.test_drawings import everything, predicted

NAMES = ["_background_", "_nolegend", "猫", "caf\udce9", "$5 bill", "a_{b$c$", "=1+1"]


def texts(figure):
    return [each.get_text() for each in figure.findobj(Text) if each.get_visible()]


def drawn():
    labels, probabilities = predicted(200, len(NAMES))
    figures = everything(labels, probabilities, NAMES)
    # of one sample, of all models together, of nothing that has classes
    of_others = {"gallery", "prediction", "reliability", "confidence", "risk", "pairs"}
    found = {name: figure for name, figure in figures.items() if name not in of_others}
    counts = confusion_counts(labels, probabilities.argmax(1), len(NAMES))
    return found | {
        "spread": class_spread(np.arange(7.0), NAMES),
        "distribution": class_distribution({"train": [3] * 7}, NAMES),
        "decisions": class_decisions(labels, labels, labels, NAMES, "_member"),
        "weights": head_weights(np.ones((7, 2, 7)), ["_one", "two"], NAMES),
        "confusions": confusions([counts], ["_run"], NAMES),
    }


# for the scripts that no font here has
@pytest.mark.filterwarnings("ignore:pictures show boxes")
def test_names__are_in_every_figure():
    for name, figure in drawn().items():
        written = texts(figure)
        missing = [each for each in NAMES if not any(shortened(each) in text for text in written)]
        assert not missing, name


def test_legend__of_several_axes_tells_what_they_share_once():
    figure, grid = new_figure(4, 4, 1, 2)
    for axes in grid.flat:
        axes.plot([0, 1], label="_shared")
    grid[0, 1].bar([0], [1], label="bars")
    legend(figure, loc="outside lower center")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_shared", "bars"]


def test_legend__classes_that_look_alike_are_both_told():
    _, grid = new_figure(4, 4)
    for _ in range(2):
        grid[0, 0].plot([0, 1], label="a…b")
    legend(grid[0, 0])
    assert len(grid[0, 0].get_legend().get_texts()) == 2
