import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from measures.classification import auroc, classification_metrics, metrics_by_source, pairwise_source_auroc
from tests.helpers.scores import scored


def predictions(**options):
    return scored(400, 6, **options)


@pytest.mark.parametrize("absent", [(), (2,), (0, 5)])
# scikit-learn warns of the absent classes that the case is about
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_metrics__equal_scikit_learns(absent):
    logits, labels = predictions(absent=absent)
    y, p = labels.numpy(), logits.double().softmax(1).numpy()
    top = p.argmax(1)
    present = np.unique(y)
    options = {"zero_division": 0}
    expected = {
        "accuracy": reference.accuracy_score(y, top),
        "top5_accuracy": reference.top_k_accuracy_score(y, p, k=5, labels=range(6)),
        "balanced_accuracy": reference.balanced_accuracy_score(y, top),
        "precision_macro": reference.precision_score(y, top, average="macro", **options),
        "precision_weighted": reference.precision_score(y, top, average="weighted", **options),
        "recall_macro": reference.recall_score(y, top, average="macro", **options),
        "recall_weighted": reference.recall_score(y, top, average="weighted", **options),
        "f1_macro": reference.f1_score(y, top, average="macro", **options),
        "f1_weighted": reference.f1_score(y, top, average="weighted", **options),
        "auroc": np.mean([reference.roc_auc_score(y == c, p[:, c]) for c in present]),
        "average_precision": np.mean([reference.average_precision_score(y == c, p[:, c]) for c in present]),
        "nll": reference.log_loss(y, p, labels=range(6)),
        "brier": ((p - np.eye(6)[y]) ** 2).sum(1).mean(),
        "num_classes_present": len(present),
    }
    actual = classification_metrics(logits, labels)
    assert {name: actual[name] for name in expected} == pytest.approx(expected, abs=1e-6)


def test_ece__weighs_the_gaps_of_15_bins():
    logits, labels = predictions(seed=1)
    confidence, top = logits.double().softmax(1).max(1)
    bins = np.digitize(confidence.numpy(), np.linspace(0, 1, 16)[1:-1], right=True)
    hits = (top == labels).numpy()
    gaps = [abs(hits[bins == b].mean() - confidence.numpy()[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    assert classification_metrics(logits, labels)["ece"] == pytest.approx(sum(gaps), abs=1e-6)


def test_metrics__one_class_has_no_ranking():
    values = classification_metrics(torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 0]))
    assert values["accuracy"] == 1
    assert np.isnan(values["auroc"])


def test_metrics__of_equal_logits_the_first_class_comes_first_as_in_the_accuracy():
    labels = torch.arange(1200) % 12
    constant = classification_metrics(torch.zeros(1200, 12), labels)
    assert (constant["accuracy"], constant["top5_accuracy"]) == pytest.approx((1 / 12, 5 / 12))
    # rounded logits tie often
    logits = torch.randn(1200, 12, generator=torch.Generator().manual_seed(0)).round()
    order = (-logits).sort(dim=1, stable=True).indices[:, :5]
    expected = float((order == labels[:, None]).any(1).double().mean())
    assert classification_metrics(logits, labels)["top5_accuracy"] == pytest.approx(expected)


def test_auroc__equals_scikit_learns_and_is_never_above_1():
    generator = torch.Generator().manual_seed(0)
    for size in (10, 5000):
        positive = torch.rand(size, generator=generator) < 0.3
        positive[:2] = torch.tensor([True, False])
        # with ties
        scores = (torch.randn(size, generator=generator, dtype=torch.float64) + positive).round(decimals=1)
        expected = reference.roc_auc_score(positive.numpy(), scores.numpy())
        assert auroc(scores, positive) == pytest.approx(expected, abs=1e-12)
        for count in range(1, size, max(1, size // 50)):
            assert auroc(torch.arange(size).double(), torch.arange(size) >= count) == 1


def test_metrics__do_not_depend_on_order():
    logits, labels = predictions()
    expected = classification_metrics(logits, labels)
    for seed in range(20):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        shuffled = classification_metrics(logits[order], labels[order])
        # torchmetrics adds the bins up in single precision
        assert shuffled.pop("ece") == pytest.approx(expected["ece"], abs=1e-6)
        assert shuffled == pytest.approx({name: expected[name] for name in shuffled}, abs=1e-9)


def test_metrics__logits_are_never_taken_for_probabilities():
    # rows that happen to sum to one are logits all the same
    logits, labels = torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1])
    assert classification_metrics(logits, labels)["nll"] == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits.double(), labels))
    )


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.full((2, 3), float("nan")), torch.zeros(2, dtype=torch.int64), "NaN"),
        (torch.zeros(2, 3), torch.zeros(3, dtype=torch.int64), "do not fit"),
        (torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), "do not fit"),
    ],
)
def test_metrics__what_cannot_be_measured_is_refused(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        classification_metrics(logits, labels)


def by_source():
    logits, labels = predictions()
    sources = torch.arange(len(labels)) % 3
    return logits, labels, sources


def test_metrics_by_source__are_those_of_its_samples():
    logits, labels, sources = by_source()
    results = metrics_by_source(logits, labels, sources, ["a", "b", "c", "not there"])
    assert list(results) == ["a", "b", "c"]
    members = sources == 1
    assert results["b"]["samples"] == int(members.sum())
    expected = classification_metrics(logits[members], labels[members])
    assert {name: results["b"][name] for name in expected} == expected


def test_metrics_by_source__one_class_has_no_auroc():
    logits, labels, sources = by_source()
    assert metrics_by_source(logits, torch.zeros_like(labels), sources, list("abc"))["a"]["auroc"] is None


def test_pairwise_source_auroc__matches_scikit_learn():
    logits, labels, sources = by_source()
    results = pairwise_source_auroc(logits, labels, sources, list("uvwxyz"), list("abc"))
    scores = logits.double().softmax(1)
    for label, name in enumerate("uvwxyz"):
        positive, negative = (labels == label) & (sources == 0), (labels != label) & (sources == 2)
        taken = positive | negative
        expected = reference.roc_auc_score(positive[taken], scores[taken, label])
        assert results[name]["a"]["c"] == pytest.approx(expected, abs=1e-6)


def test_pairwise_source_auroc__tells_a_model_that_knows_the_source():
    # class 1 is what comes from source 1, nearly: the model looks at the source alone
    sources = torch.tensor([0] * 100 + [1] * 100)
    labels = torch.cat([torch.arange(100) % 10 == 0, torch.arange(100) % 10 > 0]).long()
    logits = torch.stack([-sources.float(), sources.float()], 1)
    results = pairwise_source_auroc(logits, labels, sources, ["no", "yes"], ["mostly no", "mostly yes"])
    assert results["yes"]["mostly yes"]["mostly no"] == 1.0
    assert results["yes"]["mostly no"]["mostly yes"] == 0.0
    assert results["yes"]["mostly no"]["mostly no"] == 0.5


def test_pairwise_source_auroc__nothing_to_compare():
    labels, sources = torch.tensor([0, 0, 1]), torch.tensor([0, 0, 1])
    results = pairwise_source_auroc(torch.randn(3, 2), labels, sources, ["x", "y"], ["a", "b"])
    assert results["x"]["a"]["a"] is None
    assert results["x"]["a"]["b"] is not None
