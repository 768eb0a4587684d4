import numpy as np
import pytest

from figures.search import Coordinate, importances, parallel_coordinates, search_history


def test_search_history__the_best_so_far():
    figure = search_history({0: 0.5, 2: 0.4, 3: 0.7}, {1: 0.1}, maximize=True)
    trials, early, best = figure.axes[0].get_lines()
    assert list(trials.get_xdata()) == [0, 2, 3]
    assert list(early.get_ydata()) == [0.1]
    assert list(best.get_ydata()) == [0.5, 0.5, 0.7]
    assert list(search_history({0: 3.0, 1: 2.0, 2: 5.0}, {}, maximize=False).axes[0].get_lines()[1].get_ydata()) == [
        3,
        2,
        2,
    ]


def test_importances__the_most_important_on_top():
    axes = importances({"lr": 0.7, "epochs": 0.3}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["epochs", "lr"]
    assert [bar.get_width() for bar in axes.patches] == [0.3, 0.7]


def test_coordinate__places():
    assert Coordinate("lr", [1e-4, 1e-3, 1e-2], log=True).places() == pytest.approx([0, 0.5, 1])
    assert list(Coordinate("model", [2, 0], choices=["a", "b", "c"]).places()) == [1, 0]
    # one value alone stands in the middle
    assert list(Coordinate("x", [3, 3]).places()) == [0.5, 0.5]
    assert Coordinate("x", [3, 3]).ticks() == {0.5: "3"}
    assert Coordinate("m", [0], choices=["a"]).ticks() == {0.5: "a"}
    assert len(Coordinate("m", [0], choices=[f"c{number}" for number in range(100)]).ticks()) <= 17


@pytest.mark.parametrize("maximize", [True, False])
def test_parallel_coordinates__the_best_comes_last(maximize):
    columns = [Coordinate("lr", [0.1, 0.01, 0.001], log=True), Coordinate("$m_", [0, 1, 1], choices=["a", "b"])]
    figure = parallel_coordinates(columns, [0.2, 0.9, 0.5], maximize)
    lines = [line for line in figure.axes[0].get_lines() if len(line.get_xdata()) == 3]
    best = np.array(lines[-1].get_ydata())
    assert best == pytest.approx([0.5, 1, 1] if maximize else [1, 0, 0])
    assert lines[-1].get_label() == "the best trial"
    figure.draw_without_rendering()
