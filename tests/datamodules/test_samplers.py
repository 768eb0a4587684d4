import pytest
import torch

from datamodules.samplers import EpochSampler


def epoch(size, batch_size, shuffle=True, seed=0, world_size=1, number=0):
    """Batches of every rank in one epoch."""
    ranks = []
    for rank in range(world_size):
        sampler = EpochSampler(size, batch_size, shuffle, seed, rank, world_size)
        sampler.set_epoch(number)
        batches = list(sampler)
        assert len(batches) == len(sampler)
        ranks.append(batches)
    return ranks


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("size", [7, 12, 13, 59, 60, 61, 62])
def test_epoch__every_sample_once_over_all_ranks(size, world_size, shuffle):
    ranks = epoch(size, 12, shuffle, world_size=world_size)
    seen = torch.cat([batch for rank in ranks for batch in rank])
    assert sorted(seen.tolist()) == list(range(size))
    assert len({len(rank) for rank in ranks}) == 1


@pytest.mark.parametrize("size", [7, 13, 25, 61, 62, 63])
def test_epoch__no_training_batch_of_one(size):
    for rank in epoch(size, 12, world_size=2):
        assert min(len(batch) for batch in rank) >= 2


def test_epoch__batches_have_the_wanted_size():
    (batches,) = epoch(50, 16)
    assert [len(batch) for batch in batches] == [16, 16, 16, 2]


def test_epoch__order_changes_with_epoch_and_seed_alone():
    def order(**options):
        return torch.cat(epoch(100, 10, **options)[0]).tolist()

    assert order() == order()
    assert order() != order(number=1)
    assert order() != order(seed=1)
    assert order(shuffle=False) == list(range(100))


def test_sampler__fewer_samples_than_processes():
    with pytest.raises(ValueError, match="fewer devices"):
        EpochSampler(1, 4, False, 0, 0, 2)
