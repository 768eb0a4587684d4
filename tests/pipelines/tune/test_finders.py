import math

import pytest
import torch

from common.machine import free_memory
from lightning_modules import MLP
from pipelines.tune import finders
from pipelines.tune.finders import each_loss, find_batch_size, find_learning_rate
from pipelines.tune.timing import REFERENCE, Bench
from tests.helpers.data import Blobs


def bench(tmp_path, count=90, batch_size=8, **options):
    data = Blobs(count=count, batch_size=batch_size)
    model = MLP(data_info=data.info, **{"hidden": [16], **options})
    return Bench(model, data, {"accelerator": "cpu", "default_root_dir": tmp_path}, seed=0)


def lightnings_means(losses):
    """What Lightning's callback keeps of each step's loss."""
    average, kept = 0.0, []
    for step, loss in enumerate(losses, 1):
        average = 0.98 * average + 0.02 * loss
        kept.append(average / (1 - 0.98 ** (step + 1)))
    return kept


def test_each_loss__undoes_lightnings_mean():
    losses = [2.3, 2.1, 2.4, 1.0, 0.5, 7.0]
    assert each_loss(lightnings_means(losses)) == pytest.approx(losses)


def test_find_learning_rate__leaves_model_and_folder_as_they_were(tmp_path):
    searching = bench(tmp_path)
    before = {name: value.clone() for name, value in searching.model.state_dict().items()}
    told = []
    found = find_learning_rate(searching, REFERENCE, 40, told.append)
    assert told[0].startswith("learning rate, step 10 of 40: at most ")
    assert found.rates[0] == pytest.approx(1e-6)
    assert found.rates == sorted(found.rates)
    # the first loss is that of a guess among three classes
    assert found.losses[0] == pytest.approx(math.log(3), abs=0.5)
    assert all(map(math.isfinite, found.losses))
    assert found.own == pytest.approx(1e-3)
    assert 1e-5 < found.suggestion().rate < 1
    assert all(torch.equal(value, before[name]) for name, value in searching.model.state_dict().items())
    assert list(tmp_path.iterdir()) == []


def test_find_learning_rate__groups_keep_their_share(tmp_path):
    seen = []

    class Watched(torch.optim.SGD):
        def step(self, closure=None):
            result = super().step(closure)
            seen.append([group["lr"] for group in self.param_groups])
            return result

    watched = bench(tmp_path, optimizer=lambda p: Watched(p, lr=0.1), backbone_lr_factor=0.1)
    find_learning_rate(watched, REFERENCE, 20)
    # a trial of the optimizer on stand-ins comes first, at its own rate
    seen = [pair for pair in seen if pair[0] != 0.1]
    assert len(seen) > 5
    assert all(low == pytest.approx(0.1 * high) for high, low in seen)
    assert [high for high, _ in seen] == sorted(high for high, _ in seen)


@pytest.mark.parametrize(("start", "most", "found"), [(8, 1024, 64), (8, 32, 32), (8, 33, 32), (64, 10, 10)])
def test_find_batch_size__no_more_than_was_allowed_or_is_there(start, most, found, tmp_path):
    # 81 samples are trained on
    searching = bench(tmp_path, batch_size=start)
    told = []
    assert find_batch_size(searching, REFERENCE, most, told.append) == found
    assert told[-1] == f"trying batches of {found}"
    assert searching.data.batch_size == start
    assert list(tmp_path.iterdir()) == []


def test_find_batch_size__ends_where_memory_does(tmp_path, monkeypatch):
    asked = []

    def peak(device):
        asked.append(device)
        # each batch size adds as many bytes as it has samples
        return {1: 0, 2: 0, 3: 16}.get(len(asked), 16 + 32)

    monkeypatch.setattr(finders, "peak_memory", peak)
    # 16 added 16 bytes, so 32 may add 32; which it does, so 64 may add 64
    monkeypatch.setattr(finders, "free_memory", lambda: 2 * 40)
    assert find_batch_size(bench(tmp_path, 200, batch_size=16), REFERENCE, 1024) == 32


def test_free_memory__is_some_of_the_machines():
    assert 1e6 < free_memory() < 1e14
