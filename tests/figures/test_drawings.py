"""What every figure must stand: absent classes, one class, one sample, many classes, long names."""

import itertools

import numpy as np
import pytest

from figures.confusion_matrix import confused_pairs, confusion_matrix
from figures.embeddings import class_spread, embedding_scatter, explained_variance
from figures.gallery import captions, gallery, prediction
from figures.learning_curves import learning_curves, series_of
from figures.per_class import per_class
from figures.ranking import precision_recall, risk_coverage, roc
from figures.reliability import confidence, reliability
from figures.stack import class_decisions, head_weights, stack_decisions
from figures.style import line, shortened
from measures import curves as statistics
from measures import per_class as per_class_measures
from measures import reliability as reliability_measures

LONG = ["a$_$b " + "very " * 12 + str(number) for number in range(1000)]


def predicted(samples, classes, present=None, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.choice(present if present is not None else classes, samples)
    logits = rng.normal(size=(samples, classes))
    logits[np.arange(samples), labels] += 2
    return labels, reliability_measures.softmax(logits)


def everything(labels, probabilities, names):
    """All figures of predictions alone."""
    counts = per_class_measures.confusion_counts(labels, probabilities.argmax(1), len(names))
    bins = reliability_measures.reliability_bins(labels, probabilities)
    images = [np.zeros((8, 8, 1), dtype=np.uint8)] * min(9, len(labels))
    return {
        "confusion": confusion_matrix(counts, names),
        "normalized": confusion_matrix(counts, names, normalized=True, summarised=False),
        "pairs": confused_pairs(per_class_measures.most_confused(counts), names),
        "per_class": per_class(per_class_measures.class_report(counts), names),
        "reliability": reliability(bins),
        "confidence": confidence(labels, probabilities),
        "roc": roc(statistics.roc_curves(labels, probabilities), names),
        "pr": precision_recall(statistics.precision_recall_curves(labels, probabilities), names),
        "risk": risk_coverage({"one": statistics.risk_coverage_curve(labels, probabilities)}),
        "gallery": gallery(images, captions(labels[:9], probabilities[:9], names)),
        "prediction": prediction(images[0], probabilities[0], names, int(labels[0])),
        "scatter": embedding_scatter(np.random.default_rng(0).normal(size=(len(labels), 2)), labels, names),
    }


@pytest.mark.parametrize(
    ("samples", "classes", "present"),
    [(60, 3, None), (60, 5, [1, 3]), (20, 4, [2]), (1, 3, None), (300, 100, None)],
    ids=["plain", "absent", "one class", "one sample", "100 classes"],
)
def test_all__can_be_saved(samples, classes, present, tmp_path):
    labels, probabilities = predicted(samples, classes, present)
    for name, figure in everything(labels, probabilities, LONG[:classes]).items():
        figure.savefig(tmp_path / f"{name}.png", dpi=40)
        assert (tmp_path / f"{name}.png").stat().st_size > 1000, name


def test_confusion_matrix__numbers_are_the_counts():
    counts = np.array([[5, 1, 0], [0, 0, 0], [2, 0, 20_000]])
    axes = confusion_matrix(counts, ["cat", "dog", "eel"], title="test").axes[0]
    written = {tuple(map(round, text.get_position()))[::-1]: text.get_text() for text in axes.texts}
    assert written == {(0, 0): "5", (0, 1): "1", (2, 0): "2", (2, 2): "20k"}
    assert np.array_equal(axes.images[0].get_array(), counts)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "eel"]


def test_confusion_matrix__shares_leave_absent_classes_empty():
    axes = confusion_matrix(np.array([[3, 1], [0, 0]]), ["a", "b"], normalized=True).axes[0]
    values = np.ma.filled(axes.images[0].get_array(), np.nan)
    assert values[0].tolist() == [0.75, 0.25]
    assert np.isnan(values[1]).all()
    assert "1 of 2 classes have no sample" in axes.get_title()


def test_confusion_matrix__a_thousand_classes_are_summarised():
    counts = np.eye(1000, dtype=np.int64) * 10
    counts[700, 3] = 9
    counts[5, 800] = 8
    axes = confusion_matrix(counts, LONG).axes[0]
    assert axes.images[0].get_array().shape == (4, 4)
    assert "the 4 most confused of 1,000 classes" in axes.get_title()
    assert [label.get_text() for label in axes.get_xticklabels()] == [shortened(LONG[n]) for n in (3, 5, 700, 800)]
    whole = confusion_matrix(counts, LONG, summarised=False).axes[0]
    assert whole.images[0].get_array().shape == (1000, 1000)


def test_per_class__worst_first_and_absent_classes_said():
    counts = np.array([[9, 1, 0], [5, 5, 0], [0, 0, 0]])
    figure = per_class(per_class_measures.class_report(counts), ["cat", "dog", "eel"])
    scores, errors, support = figure.axes
    assert [label.get_text() for label in scores.get_yticklabels()] == ["dog", "cat"]
    assert [round(bar.get_width(), 6) for bar in errors.patches] == [0.5, 0.1]
    assert [bar.get_width() for bar in support.patches] == [10, 10]
    assert "1 classes do not occur" in figure.get_suptitle()


def test_per_class__many_classes_are_summarised():
    counts = np.diag(np.arange(1, 1001))
    figure = per_class(per_class_measures.class_report(counts), LONG)
    assert len(figure.axes[1].patches) == 40
    assert "of 1,000 classes" in figure.get_suptitle()


def test_ranking__of_many_classes_the_worst_and_the_averages():
    labels, probabilities = predicted(400, 30)
    curves = statistics.roc_curves(labels, probabilities)
    axes = roc(curves, [f"class {number}" for number in range(30)]).axes[0]
    named = [text.get_text() for text in axes.get_legend().get_texts()]
    worst = sorted(sorted(curves.classes, key=lambda number: curves.classes[number].area)[:10])
    assert named[1:11] == [f"class {number} ({curves.classes[number].area:.4f})" for number in worst]
    assert [text.partition(" (")[0] for text in named[11:]] == ["macro average", "micro average"]


def test_ranking__classes_without_a_curve_are_named():
    labels, probabilities = predicted(50, 3, [0, 1])
    axes = precision_recall(statistics.precision_recall_curves(labels, probabilities), ["a", "b", "c"]).axes[0]
    assert axes.get_title().endswith("samples of both sorts: c")


def test_gallery__images_of_unequal_sizes_and_colours():
    images = [np.full((5 + number, 9, 1 if number % 2 else 3), 7, dtype=np.uint8) for number in range(10)]
    titles, names = [f"$ {number}" for number in range(10)], [f"{'folder/' * 6}{number}.png" for number in range(10)]
    figure = gallery(images, titles, overlays=[np.ones((9, 9))] * 10, names=names)
    drawn = [axes for axes in figure.axes if axes.images]
    # eight in a row, each row above that of its overlays
    originals, overlaid = [*drawn[:8], *drawn[16:18]], [*drawn[8:16], *drawn[18:]]
    for axes, layers in ((originals, 1), (overlaid, 2)):
        assert [each.images[0].get_array().shape[:2] for each in axes] == [image.shape[:2] for image in images]
        assert [len(each.images) for each in axes] == [layers] * 10
    assert [axes.get_title() for axes in originals] == titles
    assert [axes.texts[0].get_text()[-6:] for axes in overlaid] == [name[-6:] for name in names]


def test_captions__say_the_true_class_of_mistakes_alone():
    texts = captions([0, 1], np.array([[0.75, 0.25], [0.9, 0.1]]), ["cat", "dog"])
    assert texts == ["cat 75.0%", "true: dog 10.0%\ncat 90.0%"]


def test_prediction__the_true_class_is_among_the_bars():
    probabilities = np.append(np.full(20, 0.05 - 1e-4), 2e-3)
    bars = prediction(np.zeros((4, 4, 3), np.uint8), probabilities, LONG[:21], 20).axes[1]
    names = [label.get_text() for label in bars.get_yticklabels()]
    assert len(names) == 10
    assert names[-1] == f"{shortened(LONG[20])} (true)"


def test_stack_decisions__repaired_and_broken():
    labels = np.array([0, 1, 1, 0])
    members = np.array([[0, 1], [1, 0], [0, 0], [0, 0]])
    stack = np.array([1, 1, 1, 0])
    figure = stack_decisions(labels, members, stack, ["one", "two"])
    bars, votes = figure.axes
    assert [bar.get_width() for bar in bars.patches] == [1, 2, -1, 0]
    # nobody, one and both members right: the stack right, then wrong
    assert [bar.get_height() for bar in votes.patches] == [1, 1, 1, 0, 1, 0]
    assert "stack 75.00%, best member 75.00%, any member right 75.00%" in figure.get_suptitle()


def test_class_decisions__by_class():
    labels, member, stack = np.array([0, 0, 1]), np.array([1, 0, 1]), np.array([0, 0, 0])
    axes = class_decisions(labels, member, stack, ["cat", "dog"], "small").axes[0]
    assert [bar.get_height() for bar in axes.patches] == [1, 0, 0, -1]
    assert axes.get_title() == "stack against small: 1 repaired, 1 broken"
    assert not axes.texts
    # a stack that decides as its member does
    (axes,) = class_decisions(labels, member, member, ["cat", "dog"], "small").axes
    assert [text.get_text() for text in axes.texts] == ["both have the same samples right"]
    assert axes.get_legend() is None


def test_head_weights__one_map_a_base_on_one_scale():
    weights = np.random.default_rng(0).normal(size=(3, 5, 3))
    figure = head_weights(weights, [f"base {number}" for number in range(5)], ["a", "b", "c"])
    maps = [axes for axes in figure.axes if axes.images]
    assert len(maps) == 5
    for number, axes in enumerate(maps):
        assert np.allclose(axes.images[0].get_array(), weights[:, number])
        assert axes.images[0].get_clim() == pytest.approx((-np.abs(weights).max(), np.abs(weights).max()))


def test_head_weights__of_many_classes_the_own_output(tmp_path):
    weights = np.random.default_rng(0).normal(size=(100, 2, 100))
    figure = head_weights(weights, ["one", "two"], LONG[:100])
    (image,) = figure.axes[0].images
    assert image.get_array().shape == (40, 2)
    figure.savefig(tmp_path / "weights.png")


def test_explained_variance__says_how_many_carry_nine_tenths():
    axes = explained_variance(np.array([0.6, 0.3, 0.1])).axes[0]
    assert "90 %: 2 components" in [text.get_text() for text in axes.get_legend().get_texts()]


def test_class_spread__widest_first_without_absent_ones():
    axes = class_spread(np.array([1.0, np.nan, 3.0]), ["a", "b", "c"]).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["c", "a"]


def rows():
    return [
        {"epoch": "", "step": "3", "lr-Adam": "0.1", "lr-Adam, not decayed": "0.1", "val/loss": "", "train/loss": ""},
        {"epoch": "0", "step": "5", "lr-Adam": "", "lr-Adam, not decayed": "", "val/loss": "2.0", "train/loss": ""},
        {"epoch": "0", "step": "5", "lr-Adam": "", "lr-Adam, not decayed": "", "val/loss": "", "train/loss": "2.5"},
        {"epoch": "1", "step": "9", "lr-Adam": "", "lr-Adam, not decayed": "", "val/loss": "9", "train/loss": ""},
        # after a stop
        {"epoch": "1", "step": "9", "lr-Adam": "", "lr-Adam, not decayed": "", "val/loss": "1.0", "train/loss": ""},
    ]


def test_series_of__by_epoch_and_by_step():
    curves = series_of(rows())
    assert {name: (x.tolist(), y.tolist()) for name, (x, y) in curves.items()} == {
        "lr-Adam": ([3], [0.1]),
        "lr-Adam, not decayed": ([3], [0.1]),
        "val/loss": ([0, 1], [2.0, 1.0]),
        "train/loss": ([0], [2.5]),
    }
    assert series_of([]) == {}


def test_learning_curves__equal_rates_are_one_line(tmp_path):
    figure = learning_curves(series_of(rows()), best_epoch=1, title="a run")
    loss, _, rate = (axes for axes in figure.axes if axes.axison)
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation", "best: epoch 1"]
    assert len(rate.lines) == 1
    learning_curves({}).savefig(tmp_path / "empty.png")


def test_line__those_of_a_figure_differ_without_colour():
    looks = [(str(look["linestyle"]), look["color"]) for look in map(line, range(30))]
    assert len(set(looks)) == 30
    # neighbours by their dashes alone
    assert all(one[0] != other[0] for one, other in itertools.pairwise(looks))
