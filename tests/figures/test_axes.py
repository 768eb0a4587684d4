"""Axes end where their quantities do, and labels do not lie over each other."""

import itertools

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from figures.cost_accuracy import cost_accuracy
from figures.curves_over_runs import curves_over_runs
from figures.learning_curves import learning_curves
from figures.per_class import per_class
from figures.ranking import risk_coverage
from measures.curves import risk_coverage_curve
from measures.per_class import class_report


def ticks(axis):
    low, high = sorted(axis.get_view_interval())
    return [place for place in axis.get_majorticklocs() if low <= place <= high]


def test_epochs__are_whole_numbers():
    for count in (1, 2, 3, 40):
        epochs = np.arange(count)
        pair = (epochs, np.linspace(1, 0, count))
        of_run = learning_curves({"train/loss": pair, "speed/images_per_second": pair})
        over_runs = curves_over_runs({"val/loss": {"one": pair}})
        for axes in (of_run.axes[0], of_run.axes[2], over_runs.axes[0]):
            found = ticks(axes.xaxis)
            assert found
            assert all(place == round(place) for place in found), (count, found)


def test_error_rates__end_at_all_of_them():
    for counts in ([[1, 19], [1, 19]], [[20, 0], [0, 20]], [[0, 20], [20, 0]], [[14, 6], [0, 20]]):
        errors = per_class(class_report(np.array(counts)), ["a", "b"]).axes[1]
        assert errors.get_xlim()[1] <= 1
    labels = np.zeros(5, dtype=np.int64)
    risk = risk_coverage({"one": risk_coverage_curve(labels, np.tile([[0.2, 0.8]], (5, 1)))})
    assert risk.axes[0].get_ylim()[1] <= 1


def test_cost__names_do_not_lie_over_each_other():
    rng = np.random.default_rng(0)
    names = [f"model {number}" for number in range(14)]
    costs = [1e6, 1e6, 1e6, 1.01e6, *np.geomspace(2e6, 1e8, 10)]
    figure = cost_accuracy(
        names, costs, [0.9, 0.9, 0.9001, 0.9, *(0.9 + 0.05 * rng.random(10))], [True] * 14, "parameters"
    )
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    written = figure.axes[0].texts
    assert sorted(text.get_text() for text in written) == sorted(names)
    # without the lines to their points
    boxes = [Text.get_window_extent(text, canvas.get_renderer()).padded(-1) for text in written]
    over = [(names[a], names[b]) for a, b in itertools.combinations(range(14), 2) if boxes[a].overlaps(boxes[b])]
    assert not over
