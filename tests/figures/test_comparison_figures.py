import io

import numpy as np
import pytest

from figures.accuracy_bars import accuracy_bars, axis_start
from figures.confusions import confusions
from figures.cost_accuracy import cost_accuracy
from figures.curves_over_runs import curves_over_runs
from figures.metric_by_option import metric_by_option
from figures.metric_heatmap import column_shares, metric_heatmap
from figures.radar import INNER, radar
from figures.reliabilities import reliabilities
from measures.reliability import reliability_bins


def draws(figure):
    """Draw it whole; a name that is taken for a formula fails here."""
    figure.savefig(io.BytesIO(), format="svg")
    return figure


def test_accuracy_bars__lengths_intervals_and_marks():
    figure = draws(
        accuracy_bars(["a$x", "b"], [0.5, 0.75], [0.4, None], [0.6, None], [False, True], [True, False], floor=0)
    )
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == [0.5, 0.75]
    assert [
        line.get_xdata().tolist() if hasattr(line.get_xdata(), "tolist") else line.get_xdata() for line in axes.lines
    ] == [[0.4, 0.6]]
    assert [text.get_text() for text in axes.texts] == ["0.5000", "0.7500 best"]
    assert axes.patches[0].get_hatch()
    assert not axes.patches[1].get_hatch()
    # the first is on top
    assert axes.yaxis_inverted()


def test_accuracy_bars__a_cut_axis_says_so():
    axes = draws(accuracy_bars(["a", "b"], [0.97, 0.98], [0.96, 0.97], [0.98, 0.99])).axes[0]
    assert "the axis begins at 0.9" in axes.get_xlabel()
    bar = axes.patches[0]
    assert bar.get_x() + bar.get_width() == pytest.approx(0.97)


@pytest.mark.parametrize(("lowest", "highest"), [(0.0, 0.0), (1.0, 1.0), (0.2, 0.9), (0.991, 0.9915), (0.5, 0.52)])
def test_axis_start__never_hides_a_value(lowest, highest):
    assert 0 <= axis_start(lowest, highest) <= lowest


def test_metric_heatmap__darker_is_better_whatever_the_direction():
    values = np.array([[0.9, 0.2, np.nan], [0.8, 0.4, np.nan], [0.7, 0.3, 5.0]])
    figure = draws(metric_heatmap(values, ["a", "b", "c"], ["accuracy", "nll", "auroc"], ["nll"]))
    shades = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shades[:, 0], [1, 0.5, 0])
    np.testing.assert_allclose(shades[:, 1], [1, 0, 0.5])
    assert shades.mask[:, 2].tolist() == [True, True, False]
    assert [text.get_text() for text in figure.axes[0].texts][:3] == ["0.9000", "0.2000", "–"]


def test_column_shares__all_alike():
    assert column_shares(np.full((2, 1), 3.0), [True]).tolist() == [[1.0], [1.0]]


def test_radar__best_outside_worst_inside():
    values = np.array([[0.9, 0.1, 0.5], [0.8, 0.3, 0.6]])
    axes = draws(radar(values, ["a", "b"], ["accuracy", "nll", "auroc"], ["nll"])).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [1, 1, INNER, 1])
    np.testing.assert_allclose(axes.lines[1].get_ydata(), [INNER, INNER, 1, INNER])
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels[1] == "nll\n0.3000 to 0.1000"
    with pytest.raises(ValueError, match="three metrics"):
        radar(values[:, :2], ["a", "b"], ["accuracy", "nll"])


def test_curves_over_runs__a_run_keeps_its_colour():
    curves = {
        "train/loss": {"a": ([0, 1], [20.0, 0.5]), "b": ([0, 1], [2.0, 1.0])},
        "val/accuracy": {"b": ([0, 1], [0.5, 0.6])},
        "val/loss": {},
    }
    curves.pop("val/loss")
    figure = draws(curves_over_runs(curves))
    loss, accuracy = figure.axes
    assert loss.lines[1].get_color() == accuracy.lines[0].get_color() != loss.lines[0].get_color()
    assert loss.get_yscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]


def test_metric_by_option__means_and_many_values():
    options = {"model.loss": {"ce": [0.5, 0.7], "$focal": [0.9]}, "lr": {str(10.0**-k): [0.1 * k] for k in range(6)}}
    rows, scattered = draws(metric_by_option(options, limit=4)).axes
    means = [line.get_xdata() for line in rows.lines if line.get_marker() == "|"]
    np.testing.assert_allclose(np.ravel(means), [0.6, 0.9])
    assert [label.get_text() for label in rows.get_yticklabels()] == ["ce (2)", "$focal (1)"]
    assert scattered.get_yscale() == "log"
    assert len(scattered.lines[0].get_xdata()) == 6


@pytest.mark.parametrize("classes", [1, 3, 30, 300])
def test_confusions__shares_of_rows(classes):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, (classes, classes))
    # an absent class
    counts[-1] = 0
    names = [f"${number}" for number in range(classes)]
    figure = draws(confusions([counts] * 3, ["a", "b", "c"], names))
    shares = figure.axes[0].images[0].get_array()
    assert shares.mask[-1].all()
    if classes > 1:
        np.testing.assert_allclose(shares[0].data, counts[0] / counts[0].sum())
    # the fourth place is empty
    assert not figure.axes[3].axison


def test_reliabilities__lines_are_the_bins():
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 50)
    bins = reliability_bins(rng.integers(0, 3, 50), probabilities)
    axes = draws(reliabilities([bins], ["mlp"])).axes[0]
    np.testing.assert_array_equal(axes.lines[1].get_ydata(), bins.accuracy)
    assert f"ECE {bins.ece:.4f}" in axes.get_title()


def test_cost_accuracy__the_front_is_a_line():
    figure = draws(cost_accuracy(["a", "b$", "c"], [0.1, 5.0, 2.0], [0.7, 0.9, 0.6], [True, True, False], "ms"))
    axes = figure.axes[0]
    assert list(axes.lines[0].get_xdata()) == [0.1, 5.0]
    assert axes.get_xscale() == "log"
    assert sorted(text.get_text() for text in axes.texts) == ["a", "b$", "c"]
