from types import SimpleNamespace

import pytest
import torch

from callbacks import SoftTargets


@pytest.fixture
def taught():
    """A callback that knows two images."""
    callback = SoftTargets("stack.ckpt", weight=0.25)
    callback._known = torch.tensor([3, 8]), torch.tensor([[0.5, 0.5], [0.0, 1.0]])
    return callback


def test_targets__are_mixed_from_label_and_stack(taught):
    batch = {"id": torch.tensor([8, 3]), "label": torch.tensor([0, 1])}
    taught.on_train_batch_start(SimpleNamespace(), SimpleNamespace(), batch, 0)
    assert batch["target"].tolist() == [[0.75, 0.25], [0.125, 0.875]]


def test_targets__labels_may_be_soft_themselves(taught):
    batch = {"id": torch.tensor([3]), "label": torch.tensor([0]), "target": torch.tensor([[0.9, 0.1]])}
    taught.on_train_batch_start(SimpleNamespace(), SimpleNamespace(), batch, 0)
    assert batch["target"][0].tolist() == pytest.approx([0.8, 0.2])


def test_targets__of_a_stack_that_sees_the_batch():
    callback = SoftTargets("stack.ckpt", out_of_fold=False, weight=1.0, temperature=2.0)
    callback._teacher = lambda images: images.flatten(1)[:, :2].float()
    batch = {"id": torch.tensor([1]), "label": torch.tensor([0]), "image": torch.tensor([[[[2, 6]]]])}
    callback.on_train_batch_start(SimpleNamespace(), SimpleNamespace(), batch, 0)
    assert torch.allclose(batch["target"], torch.tensor([[1.0, 3.0]]).softmax(1))


def test_options__are_in_their_ranges():
    with pytest.raises(ValueError, match="SoftTargets: weight"):
        SoftTargets("stack.ckpt", weight=2)
    with pytest.raises(ValueError, match="SoftTargets: temperature"):
        SoftTargets("stack.ckpt", temperature=0)
