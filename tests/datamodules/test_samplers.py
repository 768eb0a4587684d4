import pytest
import torch

from datamodules.samplers import EpochSampler, InOrder, Shuffled, choose_order


def epoch(size, batch_size, shuffle=True, seed=0, world_size=1, number=0):
    """Batches of every rank in one epoch."""
    ranks = []
    for rank in range(world_size):
        order = Shuffled(size) if shuffle else InOrder(size)
        sampler = EpochSampler(order, batch_size, seed, rank, world_size)
        sampler.set_epoch(number)
        batches = list(sampler.batches())
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
        EpochSampler(InOrder(1), 4, 0, 0, 2)


def labels_of(*counts):
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


def drawn(labels, sampling, number=0, world_size=1):
    """Indices drawn by every rank in one epoch."""
    ranks = []
    for rank in range(world_size):
        sampler = EpochSampler(choose_order(labels, True, sampling), 12, 5, rank, world_size)
        sampler.set_epoch(number)
        ranks.append(torch.cat(list(sampler.batches())))
    return ranks


def test_balanced__each_class_equally_often():
    labels = labels_of(80, 15, 5)
    (epoch,) = drawn(labels, "balanced")
    assert labels[epoch].bincount().tolist() == [33, 33, 33]
    # no sample comes a second time before all others of its class came once
    for label, count in enumerate((80, 15, 5)):
        times = epoch[labels[epoch] == label].bincount(minlength=100)[labels == label]
        assert len(times) == count
        assert times.max() - times.min() <= 1


def test_sqrt__between_as_they_are_and_balanced():
    labels = labels_of(64, 16, 4)
    (epoch,) = drawn(labels, "sqrt")
    assert labels[epoch].bincount().tolist() == [48, 24, 12]


def test_undersample__each_class_down_to_the_smallest():
    labels = labels_of(80, 15, 5)
    (epoch,) = drawn(labels, "undersample")
    assert labels[epoch].bincount().tolist() == [5, 5, 5]
    assert len(epoch.unique()) == 15
    # other samples of the frequent classes come in other epochs
    seen = torch.cat([drawn(labels, "undersample", number)[0] for number in range(60)]).unique()
    assert len(seen) > 95


def test_sampling__an_absent_class_is_left_out():
    labels = torch.tensor([0, 0, 2, 2, 2])
    (epoch,) = drawn(labels, "balanced")
    assert labels[epoch].bincount().tolist() == [2, 0, 2]


@pytest.mark.parametrize("sampling", ["none", "balanced", "sqrt", "undersample"])
def test_sampling__ranks_share_one_epoch(sampling):
    labels = labels_of(40, 25, 10)
    (alone,) = drawn(labels, sampling)
    two = drawn(labels, sampling, world_size=2)
    # positions, because a sample of a rare class may come more than once
    assert sorted(torch.cat(two).tolist()) == sorted(alone.tolist())
    assert abs(len(two[0]) - len(two[1])) <= 1
    assert not torch.equal(*(drawn(labels, sampling, number)[0] for number in (0, 1)))


def test_batches__from_the_middle_are_those_that_were_left():
    sampler = EpochSampler(Shuffled(50), 16, 3, 0, 1)
    left = list(sampler.batches(2))
    assert all(torch.equal(a, b) for a, b in zip(left, list(sampler.batches())[2:], strict=True))


@pytest.mark.parametrize(
    ("samples", "batch_size", "world_size", "smallest"),
    [
        (10, 4, 1, 2),
        (9, 4, 1, 4),
        (10, 1, 1, 1),
        (1, 4, 1, 1),
        (10, 2, 2, 1),
        (10, 4, 2, 2),
        (3, 8, 2, 1),
        (8, 4, 1, 4),
    ],
)
def test_smallest__of_all_batches_and_processes(samples, batch_size, world_size, smallest):
    samplers = [EpochSampler(InOrder(samples), batch_size, 0, rank, world_size) for rank in range(world_size)]
    assert {sampler.smallest for sampler in samplers} == {smallest}
    assert min(len(batch) for sampler in samplers for batch in sampler.batches()) == smallest
