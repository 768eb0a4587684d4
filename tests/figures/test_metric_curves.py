from figures.metric_curves import metric_curves


def test_metric_curves__means_and_spread():
    figure = metric_curves({"mlp": {0.1: [0.5, 0.7], 1.0: [0.8]}, "cnn": {1.0: [0.9]}}, "data.subsample")
    (axes,) = figure.axes
    mlp = axes.lines[0]
    assert mlp.get_xdata().tolist() == [0.1, 1.0]
    assert [round(value, 6) for value in mlp.get_ydata()] == [0.6, 0.8]
    # the bar of the two runs
    assert list(axes.lines[1].get_ydata()) == [0.5, 0.7]
    assert axes.get_xscale() == "log"
    assert [label.get_text() for label in figure.legends[0].get_texts()] == ["mlp", "cnn"]


def test_metric_curves__narrow_axis_is_linear():
    assert metric_curves({"a": {1.0: [0.1], 2.0: [0.2]}}, "x").axes[0].get_xscale() == "linear"
