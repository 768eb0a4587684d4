import pytest
import torch

from ensembling.logits import base_logits, mean_logits, to_features
from lightning_modules import MLP
from tests.helpers.data import Blobs

CPU = torch.device("cpu")


def bases(data, number=2):
    return [MLP(data_info=data.info, hidden=[8]).eval() for _ in range(number)]


def test_base_logits__are_the_models_in_the_splits_order():
    data = Blobs(batch_size=7)
    samples = data.splits["train"]
    models = bases(data)
    logits = base_logits(models, data.loader(samples), CPU)
    assert logits.shape == (len(samples), 2, 3)
    images = samples.source.gather(samples.rows)
    with torch.no_grad():
        expected = torch.stack([model(images) for model in models], 1)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_base_logits__a_broken_base_is_named():
    data = Blobs()
    models = bases(data)
    torch.nn.init.constant_(models[1].head.weight, float("inf"))
    with pytest.raises(ValueError, match="member number 2 gives logits that are not finite"):
        base_logits(models, data.loader(data.splits["test"]), CPU)


def test_to_features__kinds():
    logits = torch.randn(4, 2, 3)
    assert torch.equal(to_features(logits, "logits"), logits.flatten(1))
    probabilities = to_features(logits, "probabilities").view(4, 2, 3)
    assert torch.allclose(probabilities.sum(2), torch.ones(4, 2))
    assert torch.allclose(to_features(logits, "log_probabilities").exp(), probabilities.flatten(1), atol=1e-6)


def test_mean_logits__is_the_mean_of_probabilities():
    logits = torch.randn(5, 3, 4, dtype=torch.float64)
    assert torch.allclose(mean_logits(logits).exp(), logits.softmax(2).mean(1))
