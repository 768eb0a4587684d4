import numpy as np
import torch

from datamodules.looks import FLIPS
from ensembling import near_copies
from ensembling.near_copies import probable_copies


def hashes(count, seed=0):
    return torch.randint(-(2**62), 2**62, (count,), generator=torch.Generator().manual_seed(seed))


def changed(looks, bits):
    """Turn round the first bits of hashes."""
    return looks ^ ((1 << bits) - 1)


def test_copies__are_found_flipped_or_not():
    seen = hashes(2000)
    looks = torch.cat([seen[:4].clone(), hashes(6, seed=1)])
    looks[:4] ^= torch.from_numpy(np.array(FLIPS, dtype=np.uint64).view(np.int64))
    assert probable_copies(changed(looks, 4), seen).tolist() == [True] * 4 + [False] * 6


def test_copies__an_image_without_a_look_has_none():
    assert not probable_copies(torch.zeros(3, dtype=torch.int64), hashes(10)).any()
    assert not probable_copies(hashes(3), torch.empty(0, dtype=torch.int64)).any()
    assert probable_copies(hashes(3), hashes(3)).all()


def test_copies__images_of_one_kind_are_none():
    one = hashes(1)
    kind = one ^ (1 << torch.arange(40))
    assert not probable_copies(one, torch.cat([kind, hashes(500, seed=1)])).any()
    assert probable_copies(one, torch.cat([kind[:3], hashes(500, seed=1)])).all()


def test_copies__that_differ_more_count_where_they_are_many():
    seen, others = hashes(300), hashes(300, seed=1)
    assert not probable_copies(torch.cat([changed(seen[:2], 7), others]), seen).any()
    assert probable_copies(torch.cat([changed(seen[:30], 7), others]), seen).sum() == 30


def test_copies__of_very_many_some_are_compared(monkeypatch):
    monkeypatch.setattr(near_copies, "MOST_COMPARED", 100 * 100)
    seen = hashes(200)
    assert probable_copies(seen[:100], seen).sum() == 50
