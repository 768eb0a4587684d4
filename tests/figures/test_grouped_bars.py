import numpy as np

from figures.grouped_bars import grouped_bars


def test_grouped_bars__a_bar_for_each_value_and_none_for_what_is_missing():
    values = np.array([[0.9, 0.8], [0.7, np.nan]])
    lows, highs = values - 0.02, values + 0.02
    (axes,) = grouped_bars(values, ["$a$", "b"], ["accuracy", "F1"], lows, highs).axes
    assert sorted(bar.get_x() + bar.get_width() for bar in axes.patches if bar.get_width()) == [0.7, 0.8, 0.9]
    assert len(axes.lines) == 3
    assert [label.get_text() for label in axes.get_yticklabels()] == ["$a$", "b"]
    assert sorted(text.get_text() for text in axes.texts) == ["0.700", "0.800", "0.900"]


def test_grouped_bars__nothing_known():
    assert grouped_bars(np.full((1, 2), np.nan), ["a"], ["x", "y"]).axes
