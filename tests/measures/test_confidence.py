import pytest
import torch

from measures.confidence import confidence_of


def test_confidence_of__right_and_wrong():
    logits = torch.tensor([[0.9, 0.1], [0.7, 0.3], [0.4, 0.6], [0.8, 0.2]]).log()
    found = confidence_of(logits, torch.tensor([True, True, False, True]))
    assert found["confidence_right"] == pytest.approx(0.8, abs=1e-6)
    assert found["confidence_right_sd"] == pytest.approx(0.1, abs=1e-6)
    assert found["confidence_wrong"] == pytest.approx(0.6, abs=1e-6)
    assert "confidence_wrong_sd" not in found
    assert confidence_of(logits, torch.ones(4, dtype=torch.bool)).keys() == {"confidence_right", "confidence_right_sd"}
