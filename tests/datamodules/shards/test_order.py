import torch

from datamodules.samplers import ClassSampled, EpochSampler, InOrder, Shuffled
from datamodules.shards.order import ShardOrder


def drawn(order, seed=0):
    return order.draw(torch.Generator().manual_seed(seed))


def shards(count, each):
    return torch.arange(count * each) // each


def spans(row, streams=1):
    """How many batches of the order apart the first and the last sample of each shard come."""
    return [int((row == shard).nonzero().max() - (row == shard).nonzero().min()) for shard in row.unique()]


def test_order__every_sample_once_and_anew_each_epoch():
    order = ShardOrder(Shuffled(200), shards(20, 10), streams=3, mixed=4)
    first, second = drawn(order, 0), drawn(order, 1)
    assert first.sort().values.equal(torch.arange(200))
    assert second.sort().values.equal(torch.arange(200))
    assert not first.equal(second)
    assert first.equal(drawn(order, 0))


def test_order__a_shard_is_needed_for_a_short_while():
    where = shards(50, 10)
    near, far = (where[drawn(ShardOrder(Shuffled(500), where, 1, mixed))] for mixed in (4, 50))
    # a sample comes up to 4 shards of 10 after its own begins
    assert max(spans(near)) < 60 < max(spans(far))
    assert sum(len(row.unique()) > 1 for row in near.split(10)) == 50


def test_order__streams_go_through_shards_of_their_own():
    where = shards(20, 10)
    order = drawn(ShardOrder(Shuffled(200), where, streams=4, mixed=2))
    seen = [set(where[order[number::4]].tolist()) for number in range(4)]
    assert [len(one) for one in seen] == [5] * 4
    assert len(set.union(*seen)) == 20


def test_order__processes_take_whole_streams_and_the_same_batches():
    where = shards(20, 10)
    order = ShardOrder(Shuffled(200), where, streams=4, mixed=2)
    alone = [batch.tolist() for batch in EpochSampler(order, 16, 3, 0, 1).batches()]
    for world in (2, 4):
        ranks = [
            [batch.tolist() for batch in EpochSampler(order, 16, 3, rank, world).batches()] for rank in range(world)
        ]
        assert {len(rank) for rank in ranks} == {len(alone)}
        for number, batch in enumerate(alone):
            assert sorted(batch) == sorted(index for rank in ranks for index in rank[number])


def test_order__without_mixing_it_is_that_of_the_shards():
    where = torch.tensor([1, 0, 1, 0, 2])
    assert drawn(ShardOrder(InOrder(5), where, 1, 0)).tolist() == [1, 3, 0, 2, 4]
    assert drawn(ShardOrder(InOrder(5), where, 2, 0)).tolist() == [1, 2, 3, 4, 0]


def test_order__classes_are_sampled_as_anywhere():
    labels = torch.arange(120) % 10 // 9
    chosen = ClassSampled(labels, "balanced")
    order = drawn(ShardOrder(chosen, shards(12, 10), streams=2, mixed=3))
    assert order.bincount(minlength=120).equal(drawn(chosen).bincount(minlength=120))
    assert labels[order].bincount().tolist() == [60, 60]
