import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional.classification import multiclass_cohen_kappa

from measures.classification import classification_metrics
from measures.conformal import calibrate
from measures.names import ORDINAL_METRICS, POSITIVE_METRICS, PROBLEM_METRICS
from measures.problem import (
    Problem,
    average_precision,
    names_of,
    operating_point,
    problem_metrics,
    quadratic_kappa,
    sensitivity_at,
    told,
)


def predictions(count=300, classes=2, seed=0, strength=1.0):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (count,), generator=generator)
    noise = torch.randn(count, classes, generator=generator, dtype=torch.float64)
    # rounded, so that scores tie
    logits = (2 * (noise + strength * torch.nn.functional.one_hot(labels, classes))).round() / 2
    return logits, labels


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("positive", [0, 1])
def test_positive_metrics__equal_scikit_learns(positive, seed):
    logits, labels = predictions(seed=seed)
    found = classification_metrics(logits, labels, Problem(positive=positive, specificity=0.9))
    score, truth = logits.softmax(1)[:, positive].numpy(), (labels == positive).numpy()
    called = (logits.argmax(1) == positive).numpy()
    false, true, _ = sklearn_metrics.roc_curve(truth, score, drop_intermediate=False)
    expected = {
        "sensitivity": sklearn_metrics.recall_score(truth, called),
        "specificity": sklearn_metrics.recall_score(~truth, ~called),
        "precision_positive": sklearn_metrics.precision_score(truth, called),
        "f1_positive": sklearn_metrics.f1_score(truth, called),
        "average_precision_positive": sklearn_metrics.average_precision_score(truth, score),
        "sensitivity_at_specificity": true[1 - false >= 0.9 - 1e-12].max(),
        "brier_binary": sklearn_metrics.brier_score_loss(truth, score),
    }
    assert set(expected) == {*POSITIVE_METRICS, "brier_binary"}
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert found["brier"] == pytest.approx(2 * found["brier_binary"])


@pytest.mark.parametrize("classes", [2, 4, 7])
def test_ordinal_metrics__equal_scikit_learns(classes):
    logits, labels = predictions(classes=classes)
    found = classification_metrics(logits, labels, Problem(ordinal=True))
    called = logits.argmax(1)
    # scikit-learn's is what is used
    kappa = multiclass_cohen_kappa(called, labels, classes, weights="quadratic")
    assert found["quadratic_kappa"] == pytest.approx(float(kappa), abs=1e-5)
    assert found["mean_absolute_error"] == pytest.approx(sklearn_metrics.mean_absolute_error(labels, called))


def test_problem_metrics__only_those_that_the_problem_has():
    assert names_of(Problem(), 3) == set()
    assert names_of(Problem(), 2) == {"brier_binary"}
    assert names_of(Problem(ordinal=True), 5) == set(ORDINAL_METRICS)
    assert names_of(Problem(ordinal=True, positive=1), 2) == set(PROBLEM_METRICS)


def test_problem_metrics__a_class_that_is_absent_has_no_rate():
    probabilities = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64)
    found = problem_metrics(probabilities, torch.tensor([0, 0]), Problem(positive=1))
    assert np.isnan(
        [found[n] for n in ("sensitivity", "average_precision_positive", "sensitivity_at_specificity")]
    ).all()
    assert (found["specificity"], found["precision_positive"]) == (0.5, 0.0)
    assert np.isnan(quadratic_kappa(torch.tensor([1, 1]), torch.tensor([1, 1]), 3))
    assert np.isnan(average_precision(torch.tensor([0.1]), torch.tensor([False])))


def test_sensitivity_at__no_negative_may_be_above_a_specificity_of_nearly_one():
    scores, truth = torch.tensor([0.1, 0.5, 0.5, 0.9]), torch.tensor([False, False, True, True])
    assert sensitivity_at(scores, truth, 0.999) == 0.5
    assert sensitivity_at(scores, truth, 0.5) == 1.0


def test_operating_point__keeps_its_specificity_on_new_images():
    problem, specificities, sensitivities = Problem(positive=1, specificity=0.9), [], []
    for seed in range(60):
        held_out, labels = predictions(count=120, seed=seed)
        noise = torch.rand(held_out.shape, generator=torch.Generator().manual_seed(seed)) / 100
        found = calibrate(held_out + noise, labels, "val")
        tested = predictions(count=400, seed=1000 + seed)
        point = operating_point(found, *tested, problem, ["ok", "defect"])
        assert point["chosen_on"] == {"split": "val", "samples": int((labels == 0).sum())}
        specificities.append(point["specificity"]["value"])
        sensitivities.append(point["sensitivity"]["value"])
        assert point["sensitivity"]["low"] < point["sensitivity"]["value"] < point["sensitivity"]["high"]
    # at least what was asked for on average, and not much more
    assert 0.9 < np.mean(specificities) < 0.925
    assert 0.2 < np.mean(sensitivities) < 0.6


def test_operating_point__is_said_in_a_sentence():
    logits, labels = predictions()
    point = operating_point(calibrate(logits, labels, "val"), logits, labels, Problem(positive=1), ["ok", "defect"])
    assert told(point).startswith("95 % specificity for defect, by probabilities above ")
    assert f"(chosen on {int((labels == 0).sum())} val images of the other class): sensitivity " in told(point)


def test_operating_point__says_what_it_lacks():
    logits, labels = predictions(20)
    names = ["ok", "defect"]
    few = operating_point(calibrate(logits, labels, "val"), logits, labels, Problem(positive=1), names)
    assert "takes 19 images of the other class to choose a threshold on, and val has" in told(few)
    assert "no held-out samples" in told(operating_point(None, logits, labels, Problem(positive=1), names))
