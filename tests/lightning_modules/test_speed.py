import pytest
import torch
from torch import nn

from lightning_modules import speed
from lightning_modules.speed import ms_per_image


class Counted(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.calls, self.trained = nn.Linear(4, 2), 0, []

    def forward(self, images):
        self.calls += 1
        self.trained.append(self.training)
        return self.layer(images.flatten(1).float())


def images(count=5):
    return torch.zeros(count, 1, 2, 2, dtype=torch.uint8)


def test_ms_per_image__is_the_median_over_the_batch(monkeypatch):
    # a warm-up of 9 s, then runs of 0.1, 7 and 0.2 s
    times = iter([0.0, 9.0, 10.0, 10.1, 20.0, 27.0, 30.0, 30.2])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(times))
    assert ms_per_image(Counted(), images(), repeats=3, warmup=1) == pytest.approx(200 / 5)


def test_ms_per_image__leaves_the_model_as_it_was():
    model = Counted().train()
    model.layer.eval()
    assert ms_per_image(model, images(), "cpu", repeats=2, warmup=1) > 0
    assert model.calls == 3
    assert not any(model.trained)
    assert model.training
    assert not model.layer.training


@pytest.mark.parametrize(("count", "repeats"), [(0, 3), (3, 0)])
def test_ms_per_image__nothing_to_time(count, repeats):
    with pytest.raises(ValueError, match="at least one"):
        ms_per_image(Counted(), images(count), repeats=repeats)
