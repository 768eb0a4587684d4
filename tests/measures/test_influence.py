import math

import numpy as np
import pytest
import torch
from sklearn import metrics as reference

from measures.classification import classification_metrics
from measures.influence import METRICS, influence
from measures.intervals import measure
from tests.helpers.scores import scored


# torchmetrics warns of the absent classes that the case is about
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("absent", [(), (2,), (0, 4)])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_influence__values_equal_classification_metrics(absent, num_classes):
    logits, labels = scored(num_classes=num_classes, absent=[a for a in absent if a < num_classes - 1])
    expected = classification_metrics(logits, labels)
    values = influence(logits, labels).values
    assert values == pytest.approx({name: expected[name] for name in METRICS}, abs=1e-6, nan_ok=True)


def test_influence__saturated_confidences_equal_classification_metrics():
    logits, labels = scored()
    logits = logits * torch.linspace(0, 60, len(logits))[:, None]
    assert influence(logits, labels).values["ece"] == pytest.approx(
        classification_metrics(logits, labels)["ece"], abs=1e-6
    )


# torchmetrics warns of absent classes
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_influence__a_thousand_classes():
    logits, labels = scored(1500, num_classes=1000)
    expected = classification_metrics(logits, labels)
    assert influence(logits, labels).values == pytest.approx({name: expected[name] for name in METRICS}, abs=1e-6)


@pytest.mark.parametrize("decimals", [None, 0])
def test_influence__of_a_sample_is_the_change_that_one_more_of_it_makes(decimals):
    logits, labels = scored(300, decimals=decimals)
    found = influence(logits, labels)
    for sample in (0, 7, 100, 299):
        rows = np.append(np.arange(300), sample)
        y, p = labels.numpy()[rows], logits.double().softmax(1).numpy()[rows]
        top = logits.argmax(1).numpy()[rows]
        more = {
            "accuracy": reference.accuracy_score(y, top),
            "balanced_accuracy": reference.balanced_accuracy_score(y, top),
            "f1_macro": reference.f1_score(y, top, average="macro"),
            "auroc": reference.roc_auc_score(y, p, multi_class="ovr"),
            "nll": reference.log_loss(y, p, labels=range(5)),
            "brier": ((p - np.eye(5)[y]) ** 2).sum(1).mean(),
        }
        for name, value in more.items():
            change = 300 * (value - found.values[name])
            # corrections for classes of few samples are a hundredth
            assert found.of_sample[name][sample] == pytest.approx(change, rel=0.05, abs=0.01), name


def test_influence__has_a_mean_of_zero():
    logits, labels = scored(absent=(1,))
    for name, of_sample in influence(logits, labels).of_sample.items():
        assert of_sample.mean() == pytest.approx(0, abs=1e-9), name


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.tensor([[math.nan, 0.0]]), [0], "mlp: logits hold NaN"),
        (torch.tensor([[math.inf, 0.0]]), [0], "mlp: logits hold NaN or infinite"),
        (torch.zeros(2, 3), [0], "mlp: .*do not fit"),
        (torch.zeros(0, 3), [], "mlp: .*do not fit"),
        (torch.zeros(1, 3), [3], "mlp: gives 3 classes"),
    ],
)
def test_measure__what_cannot_be_measured_is_refused_by_name(logits, labels, message):
    with pytest.raises(ValueError, match=message):
        measure({"mlp": logits}, torch.tensor(labels, dtype=torch.int64))
