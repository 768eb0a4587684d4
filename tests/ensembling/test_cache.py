import os
import time

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ensembling import cache as module
from ensembling.cache import LogitCache, LogitCounts
from tests.helpers.warm import warm_context

HOW = {"weights": "a", "pixels": "1x8x8", "tta": "none", "precision": "32-true"}


def rows(count, seed=0, classes=3):
    generator = torch.Generator().manual_seed(seed)
    # distinct, of both signs and in no order
    keys = (torch.randperm(count, generator=generator) - count // 2) * 2**40 + seed
    return keys, torch.randn(count, classes, generator=generator)


def shards(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_cache__gives_back_any_subset_in_any_order(tmp_path):
    cache, (keys, logits) = LogitCache(tmp_path), rows(100)
    cache.write(HOW, keys[:60], logits[:60])
    cache.write(HOW, keys[60:90], logits[60:90])
    chosen = torch.randperm(100, generator=torch.Generator().manual_seed(1))
    chosen = torch.cat([chosen, chosen[:5]])
    known, found = LogitCache(tmp_path).read(HOW, keys[chosen])
    assert torch.equal(known, chosen < 90)
    assert torch.equal(found[known], logits[chosen[known]])


def test_cache__knows_nothing_at_first(tmp_path):
    known, logits = LogitCache(tmp_path / "new").read(HOW, rows(5)[0])
    assert not known.any()
    assert logits.shape == (5, 0)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", HOW)
def test_cache__keeps_apart_what_comes_about_in_other_ways(tmp_path, name):
    cache, (keys, logits) = LogitCache(tmp_path), rows(10)
    cache.write(HOW, keys, logits)
    assert not cache.read(HOW | {name: "other"}, keys)[0].any()


def test_cache__a_key_between_others_or_beyond_them_is_unknown(tmp_path):
    cache = LogitCache(tmp_path)
    cache.write(HOW, torch.tensor([10, -10, 0]), torch.eye(3))
    known, logits = cache.read(HOW, torch.tensor([-11, -10, 5, 10, 11, 2**63 - 1, -(2**63)]))
    assert known.tolist() == [False, True, False, True, False, False, False]
    assert logits[known].tolist() == [[0, 1, 0], [1, 0, 0]]


def damage_end(path):
    path.write_bytes(path.read_bytes()[:-7])


def damage_all(path):
    path.write_bytes(b"")


def damage_byte(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def damage_zeros(path):
    content = path.read_bytes()
    path.write_bytes(content[:300] + bytes(len(content) - 300))


@pytest.mark.parametrize("damage", [damage_end, damage_all, damage_byte, damage_zeros])
def test_cache__a_damaged_shard_is_named_and_left_out(tmp_path, damage):
    cache, (keys, logits) = LogitCache(tmp_path), rows(40)
    cache.write(HOW, keys[:20], logits[:20])
    (path,) = shards(tmp_path)
    cache.write(HOW, keys[20:], logits[20:])
    damage(path)
    with pytest.warns(UserWarning, match=f"{path.name} is damaged"):
        known, found = cache.read(HOW, keys)
    assert known.tolist() == [False] * 20 + [True] * 20
    assert torch.equal(found[20:], logits[20:])
    # the same rows, computed again, take its place
    cache.write(HOW, keys[:20].flip(0), logits[:20].flip(0))
    assert cache.read(HOW, keys)[0].all()
    assert len(shards(tmp_path)) == 2


# safetensors has an error of its own for what it could not write
@pytest.mark.parametrize("kind", [OSError, SafetensorError])
def test_cache__a_full_disk_is_a_warning_and_leaves_nothing(tmp_path, monkeypatch, kind):
    def fail(tensors, path, metadata):
        path.write_bytes(b"half")
        raise kind("No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fail)
    with pytest.warns(
        UserWarning, match=r"cannot be kept in .*No space left.*another folder by the option logit_cache"
    ):
        LogitCache(tmp_path).write(HOW, *rows(5))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_cache__what_a_killed_process_left_is_removed_in_time(tmp_path):
    cache = LogitCache(tmp_path)
    cache.write(HOW, *rows(5))
    old, new = (cache.place(HOW) / name for name in (".old", ".new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 2 * module.ABANDONED,) * 2)
    assert cache.read(HOW, rows(5)[0])[0].all()
    cache.write(HOW, *rows(5, seed=1))
    assert not old.exists()
    assert new.exists()


def _write_many(folder, number, start):
    cache = LogitCache(folder)
    start.wait()
    for seed in range(20):
        # half of them the same rows as the other process's
        cache.write(HOW, *rows(50, seed if seed % 2 else 1000 * (number + 1) + seed))


def test_cache__two_writers_at_once(tmp_path):
    context = warm_context()
    start = context.Barrier(3)
    processes = [context.Process(target=_write_many, args=(tmp_path, number, start)) for number in (0, 1)]
    for process in processes:
        process.start()
    start.wait(120)
    cache = LogitCache(tmp_path)
    while any(process.is_alive() for process in processes):
        # a reader never sees half a shard: it would warn
        cache.read(HOW, rows(50, 1)[0])
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for seed in [*range(1, 20, 2), *range(1000, 1020, 2), *range(2000, 2020, 2)]:
        keys, logits = rows(50, seed)
        known, found = cache.read(HOW, keys)
        assert known.all()
        assert torch.equal(found, logits)
    # ten of each process's own, and ten that both wrote
    assert len(shards(tmp_path)) == 30


def test_cache__shards_are_plain_safetensors(tmp_path):
    cache, (keys, logits) = LogitCache(tmp_path), rows(10)
    cache.write(HOW, keys, logits)
    (path,) = shards(tmp_path)
    held = load_file(path)
    assert torch.equal(held["key"], keys.sort().values)
    assert torch.equal(held["logits"], logits[keys.argsort()])


def test_counts__read_as_a_sentence():
    assert str(LogitCounts(computed=0, reused=10_000)) == "logits: 10,000 read from the cache, 0 computed"
