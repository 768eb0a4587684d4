import numpy as np
import pytest
import torch
from torch.nn import functional

from lightning_modules.training.losses import (
    BalancedSoftmax,
    CrossEntropy,
    Focal,
    LogitAdjusted,
    balanced_softmax,
    class_weights,
    cross_entropy,
    focal,
    logit_adjusted,
)

COUNTS = [40, 10, 4, 2]
LOSSES = [
    CrossEntropy(),
    CrossEntropy(label_smoothing=0.1),
    CrossEntropy(class_weights="inverse"),
    CrossEntropy(class_weights="effective", beta=0.9, label_smoothing=0.1),
    Focal(),
    Focal(gamma=1.5, class_weights="effective", label_smoothing=0.1),
    Focal(alpha=[0.25, 0.5, 1.0, 2.0], label_smoothing=0.1),
    BalancedSoftmax(),
    LogitAdjusted(tau=1.5, label_smoothing=0.1),
]


def batch(soft=False, size=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(size, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(size) % 4
    if not soft:
        return logits, labels
    return logits, torch.rand(size, 4, generator=generator, dtype=torch.float64).softmax(1)


def by_hand(loss, logits, targets):
    """The definitions in numpy, sample by sample."""
    z, counts = logits.numpy(), np.array(COUNTS, float)
    soft = np.eye(4)[targets.numpy()] if targets.ndim == 1 else targets.numpy()
    soft = (1 - loss.label_smoothing) * soft + loss.label_smoothing / 4
    tau = 1.0 if isinstance(loss, BalancedSoftmax) else getattr(loss, "tau", 0.0)
    z = z + tau * np.log(counts / counts.sum())
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    kind = getattr(loss, "class_weights", "none")
    w = {"none": np.ones(4), "inverse": 1 / counts}.get(kind)
    if w is None:
        w = (1 - loss.beta) / (1 - loss.beta**counts)
    # the mean over the training samples is one
    w = w / np.average(w, weights=counts) if getattr(loss, "alpha", None) is None else np.array(loss.alpha)
    return (-soft * w * (1 - p) ** getattr(loss, "gamma", 0.0) * np.log(p)).sum(1).mean()


@pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_loss__equals_its_definition(loss, soft):
    logits, targets = batch(soft)
    assert loss.build(COUNTS)(logits, targets).item() == pytest.approx(by_hand(loss, logits, targets), rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_loss__of_class_indices_is_that_of_one_hot_targets(loss):
    logits, labels = batch()
    criterion = loss.build(COUNTS)
    one_hot = functional.one_hot(labels, 4).double()
    assert criterion(logits, labels).item() == pytest.approx(criterion(logits, one_hot).item())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_loss__gradients_are_those_of_finite_differences(loss):
    logits, targets = batch(soft=True, size=3)
    per_class = loss.per_class(torch.tensor(COUNTS, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda z: loss(z, targets, per_class), logits.requires_grad_())


def test_cross_entropy__equals_torchs():
    logits, labels = batch()
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)
    assert torch.allclose(cross_entropy(logits, labels), functional.cross_entropy(logits, labels))
    mean = functional.cross_entropy(logits, labels, weights) * weights[labels].sum() / len(labels)
    assert torch.allclose(cross_entropy(logits, labels, weights), mean)
    logits, soft = batch(soft=True)
    assert torch.allclose(
        cross_entropy(logits, soft, weights, 0.1), functional.cross_entropy(logits, soft, weights, label_smoothing=0.1)
    )


def test_focal__of_gamma_zero_is_cross_entropy():
    logits, labels = batch()
    assert torch.allclose(focal(logits, labels, 0.0), cross_entropy(logits, labels))


def test_focal__of_two_classes_equals_torchvisions():
    from torchvision.ops import sigmoid_focal_loss

    logits, labels = batch()[0][:, :2], torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1])
    expected = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], labels.double(), alpha=-1, gamma=2, reduction="mean")
    assert torch.allclose(focal(logits, labels, 2.0), expected)


def test_focal__alpha_of_two_classes_equals_torchvisions():
    from torchvision.ops import sigmoid_focal_loss

    logits, labels = batch()[0][:, :2], torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1])
    expected = sigmoid_focal_loss(logits[:, 1] - logits[:, 0], labels.double(), alpha=0.25, gamma=2, reduction="mean")
    assert Focal(alpha=[0.75, 0.25]).build([4, 5])(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal__alpha_needs_a_weight_for_each_class():
    with pytest.raises(ValueError, match="--model.loss.alpha has 2 weights, and the data has 3 classes"):
        Focal(alpha=[1.0, 2.0]).build([3, 3, 3])


def test_focal__alpha_that_weighs_all_alike_corrects_no_imbalance():
    assert Focal(alpha=[1.0, 2.0]).corrects_imbalance
    assert not Focal(alpha=[0.5, 0.5]).corrects_imbalance


def test_balanced_softmax__is_logit_adjustment_by_counts():
    logits, labels = batch()
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    assert torch.allclose(balanced_softmax(logits, labels, counts), logit_adjusted(logits, labels, counts, 1.0))
    # counts in place of shares: all logits move alike
    assert torch.allclose(
        balanced_softmax(logits, labels, counts), functional.cross_entropy(logits + counts.log(), labels)
    )


@pytest.mark.parametrize("weighting", ["inverse", "effective"])
def test_class_weights__average_to_one_over_the_training_samples(weighting):
    counts = torch.tensor([4500.0, 300.0, 45.0])
    weights = class_weights(counts, weighting)
    assert (weights * counts).sum() / counts.sum() == pytest.approx(1.0)
    assert weights[2] > weights[1] > weights[0]


def test_class_weights__effective_number_lies_between_none_and_inverse():
    counts = torch.tensor([4500.0, 45.0])
    ratios = {
        beta: (w := class_weights(counts, "effective", beta))[1].item() / w[0].item() for beta in (0.0, 0.999, 1 - 1e-9)
    }
    assert ratios[0.0] == pytest.approx(1.0)
    assert 1 < ratios[0.999] < 100
    assert ratios[1 - 1e-9] == pytest.approx(100.0, rel=1e-3)


def test_criterion__is_no_part_of_the_weights_and_follows_the_device():
    criterion = LogitAdjusted().build(COUNTS)
    assert not criterion.state_dict()
    assert criterion.to("meta").per_class.device.type == "meta"


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_criterion__computes_half_precision_logits_in_single(loss):
    logits, labels = batch()
    half = logits.bfloat16()
    assert torch.equal(loss.build(COUNTS)(half, labels), loss.build(COUNTS)(half.float(), labels))


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        (CrossEntropy, {"label_smoothing": 1.0}),
        (CrossEntropy, {"beta": 1.0}),
        (CrossEntropy, {"beta": 0.99, "class_weights": "inverse"}),
        (Focal, {"gamma": -1.0}),
        (Focal, {"alpha": [1.0, -1.0]}),
        (Focal, {"alpha": [0.0, 0.0]}),
        (Focal, {"alpha": [1.0, 2.0], "class_weights": "inverse"}),
    ],
)
def test_loss__impossible_options(loss, options):
    with pytest.raises(ValueError, match=next(iter(options))):
        loss(**options)


def test_build__class_without_samples():
    with pytest.raises(ValueError, match="BalancedSoftmax needs training samples of every class"):
        BalancedSoftmax().build([3, 0])
    assert CrossEntropy().build([3, 0]).per_class is None


def test_logit_adjusted__a_tau_of_0_is_cross_entropy_also_for_a_class_without_samples():
    logits, targets = torch.randn(4, 3), torch.tensor([0, 2, 2, 0])
    criterion = LogitAdjusted(tau=0).build([5, 0, 2])
    assert torch.equal(criterion(logits, targets), cross_entropy(logits, targets))


def test_focal__a_certain_sample_has_a_gradient():
    logits = torch.tensor([[40.0, -40.0], [0.0, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([0, 0]), 0.5).backward()
    assert logits.grad.isfinite().all()
    assert logits.grad[1].abs().sum() > 0
