import pytest

from figures.class_distribution import class_distribution


def test_class_distribution__draws_every_count_on_both_scales():
    counts = {"train": [50, 5, 0], "test": [3, 3, 3]}
    figure = class_distribution(counts, ["cat", "dog", "eel"])
    linear, logarithmic = figure.axes
    assert (linear.get_yscale(), logarithmic.get_yscale()) == ("linear", "symlog")
    for axes in figure.axes:
        assert [bar.get_height() for bar in axes.patches] == [50, 5, 0, 3, 3, 3]
    assert [label.get_text() for label in logarithmic.get_xticklabels()] == ["cat", "dog", "eel"]
    assert [text.get_text() for text in linear.get_legend().get_texts()] == ["train", "test"]


def test_class_distribution__many_classes_are_lines_by_size():
    counts = {"train": [1, 9, 5] * 40}
    figure = class_distribution(counts, [str(number) for number in range(120)])
    (line,) = figure.axes[0].lines
    assert line.get_ydata().tolist() == sorted(counts["train"], reverse=True)


@pytest.mark.parametrize("names", [["one"], [f"a rather long name {n}" for n in range(60)], ["a$_$x", "naïve 画"]])
def test_class_distribution__can_be_saved(names, tmp_path):
    figure = class_distribution({"train": list(range(len(names)))}, names)
    figure.savefig(tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").stat().st_size > 1000
