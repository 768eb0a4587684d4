import pytest

from figures.lr_curve import lr_curve


def test_lr_curve__draws_each_step_and_marks_the_suggestion():
    rates, losses, smoothed = [1e-4, 1e-3, 1e-2], [2.0, 1.0, 9.0], [2.0, 1.2, 8.0]
    (axes,) = lr_curve(rates, losses, smoothed, 1e-3).axes
    each, above, smooth, mark = axes.lines
    assert axes.get_xscale() == "log"
    assert (each.get_xdata().tolist(), each.get_ydata().tolist()) == (rates[:2], losses[:2])
    # a step after divergence is drawn at the edge
    assert (above.get_xdata().tolist(), above.get_ydata().tolist()) == (rates[2:], [axes.get_ylim()[1]])
    assert smooth.get_ydata().tolist() == smoothed
    assert mark.get_xdata() == [1e-3, 1e-3]
    # the fall can be seen beside the divergence
    assert axes.get_ylim()[1] < 8


def test_lr_curve__steps_below_the_smoothed_curve_are_within_the_picture():
    losses = [2.0, 0.3, 1.6, 2.0]
    (axes,) = lr_curve([1e-4, 1e-3, 1e-2, 1e-1], losses, [2.0, 1.5, 1.6, 2.0], None).axes
    assert axes.lines[0].get_ydata().tolist() == losses
    assert axes.get_ylim()[0] < 0.3


@pytest.mark.parametrize("losses", [[1.0], [1.0, 1.0, 1.0]])
def test_lr_curve__without_a_suggestion(losses, tmp_path):
    figure = lr_curve([10.0**-n for n in range(len(losses))], losses, losses, None)
    assert len(figure.axes[0].lines) == 2
    figure.savefig(tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000
