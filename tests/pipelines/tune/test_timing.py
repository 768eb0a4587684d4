import pytest
import torch

from lightning_modules import MLP, SmallCNN
from pipelines.tune.timing import REFERENCE, Bench, Candidate, Measurement, candidates, choose, keeps_loss
from tests.helpers.data import Blobs

LAST = Candidate(memory_format="channels_last")
HALF = Candidate("bf16-mixed")
BOTH = Candidate("bf16-mixed", "channels_last")
LOSSES = [2.0, 1.8, 1.6, 1.5, 1.4, 1.35, 1.3, 1.3]


def measured(candidate, rates, losses=LOSSES, error=None):
    return Measurement(candidate, list(rates), list(losses), error)


def chosen(*measurements):
    return choose([measured(REFERENCE, [100.0, 50.0, 100.0]), *measurements]).candidate


def test_choose__the_fastest():
    assert chosen(measured(LAST, [150, 75, 150]), measured(BOTH, [250, 125, 250])) == BOTH


def test_choose__never_slower_nor_as_fast_as_noise():
    assert chosen(measured(LAST, [90, 45, 90]), measured(HALF, [102, 51, 102])) == REFERENCE
    assert chosen() == REFERENCE


def test_choose__compares_within_rounds():
    # the machine was busy in the round that the reference had to itself
    assert chosen(measured(LAST, [90, 45, 90, 300])) == REFERENCE


def test_choose__one_lucky_round_does_not_choose():
    assert chosen(measured(LAST, [99, 500, 99])) == REFERENCE


def test_choose__the_more_exact_of_equals():
    assert chosen(measured(LAST, [150, 75, 150]), measured(HALF, [152, 76, 152])) == LAST


def test_choose__not_one_that_loses():
    worse = [loss + 0.1 for loss in LOSSES]
    assert chosen(measured(BOTH, [300, 150, 300], worse), measured(LAST, [120, 60, 120])) == LAST
    assert chosen(measured(BOTH, [300, 150, 300], [*LOSSES[:-1], float("nan")])) == REFERENCE


def test_choose__not_one_that_failed_or_was_given_up():
    assert chosen(measured(BOTH, [300.0], error="no compiler"), measured(LAST, [])) == REFERENCE


def test_keeps_loss__within_two_percent_or_noise():
    assert keeps_loss([loss * 1.01 for loss in LOSSES], LOSSES)
    assert not keeps_loss([loss * 1.05 for loss in LOSSES], LOSSES)
    # better is no loss
    assert keeps_loss([loss * 0.5 for loss in LOSSES], LOSSES)
    noise = [0.2, -0.2] * 4
    assert keeps_loss([loss + n + 0.05 for loss, n in zip(LOSSES, noise, strict=True)], LOSSES)
    # nearly nothing may be doubled
    assert keeps_loss([0.002] * 8, [0.001] * 8)


def test_candidates__reference_first_and_each_once():
    for device, compiled, count in (("cpu", False, 4), ("cuda", False, 6), ("cpu", True, 8)):
        tried = candidates(device, compiled)
        assert tried[0] == REFERENCE
        assert len(set(tried)) == len(tried) == count
    assert all(candidate.precision != "16-mixed" for candidate in candidates("cpu", True))


def bench(tmp_path, model_class=MLP, batch_size=16, **options):
    data = Blobs(count=60, channels=3, batch_size=batch_size, augmentation=("flip",))
    model = model_class(data_info=data.info, **options)
    return Bench(model, data, {"accelerator": "cpu", "default_root_dir": tmp_path}, seed=1)


def test_measure__every_candidate_from_the_same_weights_and_batches(tmp_path):
    measuring = bench(tmp_path, SmallCNN)
    before = {name: value.clone() for name, value in measuring.model.state_dict().items()}
    order = []
    one, last, half = measuring.measure([REFERENCE, LAST, HALF], 2, 0.01, 6, order.append)
    assert order[:3] == [f"training with {candidate}" for candidate in (REFERENCE, LAST, HALF)]
    assert order[3] == "timing, round 1 of 2"
    assert order[4].startswith("timing, round 2 of 2: ")
    for m in (one, last, half):
        assert m.error is None
        assert len(m.losses) == 8
        assert all(rate > 0 for rate in m.rates)
    assert len(one.rates) == 2
    assert one.losses == pytest.approx(last.losses, abs=1e-3)
    assert one.losses == pytest.approx(half.losses, abs=0.05)
    assert one.losses != half.losses
    # the user's model is as it was, and nothing is left behind
    assert all(torch.equal(value, before[name]) for name, value in measuring.model.state_dict().items())
    assert measuring.model.memory_format == "contiguous"
    assert list(tmp_path.iterdir()) == []


def test_measure__a_candidate_that_cannot_run_is_named(tmp_path, monkeypatch):
    measuring = bench(tmp_path, hidden=[4])
    slice_ = measuring.slice

    def failing(candidate, *args):
        if candidate == HALF:
            raise RuntimeError("not on this device\nmore")
        return slice_(candidate, *args)

    monkeypatch.setattr(measuring, "slice", failing)
    one, half = measuring.measure([REFERENCE, HALF], 1, 0.01, 4)
    assert half.error == "not on this device"
    assert choose([one, half]) is one


def test_measure__a_candidate_that_fails_later_is_named(tmp_path, monkeypatch):
    measuring = bench(tmp_path, hidden=[4])
    slice_, calls = measuring.slice, []

    def failing(candidate, *args):
        calls.append(candidate)
        if candidate == HALF and calls.count(HALF) == 3:
            raise RuntimeError("out of memory\nmore")
        return slice_(candidate, *args)

    monkeypatch.setattr(measuring, "slice", failing)
    # however slow it is
    monkeypatch.setattr("pipelines.tune.timing.HOPELESS", 0.0)
    one, half = measuring.measure([REFERENCE, HALF], 3, 0.01, 4)
    assert half.error == "out of memory"
    assert calls.count(HALF) == 3
    assert choose([one, half]) is one


def test_measure__divergence_is_told(tmp_path):
    # from some weights all units would be dead after a step, and the loss would stay finite
    torch.manual_seed(0)
    measuring = bench(tmp_path, hidden=[16], optimizer=lambda p: torch.optim.SGD(p, lr=1e30))
    with pytest.raises(ValueError, match="diverges .* lower the learning rate"):
        measuring.measure([REFERENCE], 1, 0.01, 4)
