import hashlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from datamodules.provenance import (
    ROLES,
    Provenance,
    array_keys,
    array_pixel_keys,
    bytes_key,
    fingerprint,
    pixel_key,
    sample_ids,
)
from datamodules.samples import Samples, TensorSource


def test_sample_ids__do_not_depend_on_order_or_company():
    alone = sample_ids(["train/7"])
    among = sample_ids(["train/3", "train/7", "test/7"])
    assert among[1] == alone[0]
    assert len(among.unique()) == 3
    assert (among >= 0).all()


def test_sample_ids__are_the_same_on_every_machine():
    digest = hashlib.blake2b(b"train/0", digest_size=8).digest()
    assert sample_ids(["train/0"]).tolist() == [int.from_bytes(digest, "little") % 2**63]


def test_sample_ids__a_repeated_name_is_an_error():
    with pytest.raises(ValueError, match="'a' occurs more than once"):
        sample_ids(["a", "b", "a"])


def test_sample_ids__take_names_that_are_not_utf8():
    assert len(sample_ids(["caf\udce9.jpg", "naïve 画.png", "line\nbreak.png"]).unique()) == 3


def test_array_keys__tell_pixels_apart_and_know_copies():
    images = np.zeros((3, 4, 4, 1), dtype=np.uint8)
    images[1, 0, 0, 0] = 1
    keys = array_keys(images)
    assert keys[0] == keys[2] != keys[1]


def test_array_keys__tell_shapes_apart():
    assert array_keys(np.zeros((1, 2, 8, 1), np.uint8)) != array_keys(np.zeros((1, 4, 4, 1), np.uint8))


def test_bytes_key__changes_with_a_byte():
    assert bytes_key(b"image") != bytes_key(b"imagf")


def test_pixel_key__is_of_the_picture_and_its_shape():
    grey = np.random.default_rng(0).integers(0, 256, (6, 4), dtype=np.uint8)
    key = pixel_key(grey)
    colour = np.repeat(grey[..., None], 3, axis=2)
    assert {pixel_key(colour), pixel_key(grey[..., None]), pixel_key(grey.astype(np.uint16) * 257)} == {key}
    changed = colour.copy()
    changed[5, 3, 2] ^= 1
    others = [grey.reshape(4, 6), grey.T, grey[::-1], grey.astype(np.uint16), changed]
    assert len({key, *map(pixel_key, others)}) == 6
    assert array_pixel_keys(np.stack([colour, changed])).tolist() == [key, pixel_key(changed)]


def test_provenance__union_keeps_both_sides():
    left = Provenance.of([torch.tensor([1, 2])], [torch.tensor([3])])
    right = Provenance.of([torch.tensor([2, 4])], [])
    both = left.union(right)
    assert both.fitted.tolist() == [1, 2, 4]
    assert both.selected.tolist() == [3]
    assert left.union(None) is left


def test_provenance__survives_a_checkpoint(tmp_path):
    record = Provenance.of([torch.tensor([5, 1])], [torch.tensor([9])])
    torch.save(record.plain(), tmp_path / "p.pt")
    loaded = Provenance.from_plain(torch.load(tmp_path / "p.pt", weights_only=True))
    assert loaded.fitted.tolist() == [1, 5]
    assert loaded.selected.tolist() == [9]


def test_provenance__of_samples_holds_keys_and_groups():
    source = TensorSource(torch.zeros(4, 1, 2, 2, dtype=torch.uint8))
    number = torch.arange(4)
    further = {"groups": torch.tensor([7, 7, 8, 9]), "pixels": number + 20, "looks": number}
    samples = Samples(source, number, number, number, number + 10, list("abcd"), **further)
    plain = replace(samples, groups=None, pixels=None, looks=None)
    record = Provenance.of_samples([samples.subset([0, 1])], [samples.subset([2]), plain.subset([3])], [plain])
    assert {name: getattr(record, name).tolist() for name in ROLES} == {
        "fitted": [10, 11],
        "selected": [12, 13],
        "calibrated": [10, 11, 12, 13],
        "fitted_groups": [7],
        "selected_groups": [8],
        "calibrated_groups": [],
        "fitted_pixels": [20, 21],
        "selected_pixels": [22],
        "calibrated_pixels": [],
        # 0 is the look of an image that has none
        "fitted_looks": [1],
        "selected_looks": [2],
        "calibrated_looks": [],
    }


def test_provenance__union_of_several():
    records = [Provenance.of([torch.tensor([n])], calibrated_groups=[torch.tensor([n, 5])]) for n in (1, 2, 3)]
    union = records[0].union(None, *records[1:])
    assert union.fitted.tolist() == [1, 2, 3]
    assert union.calibrated_groups.tolist() == [1, 2, 3, 5]


def test_provenance__an_entry_without_groups_has_none():
    assert (
        Provenance.from_plain({"fitted": torch.tensor([1]), "selected": torch.tensor([2])}).fitted_groups.numel() == 0
    )


def test_fingerprint__changes_with_content():
    assert fingerprint(torch.tensor([1, 2])) != fingerprint(torch.tensor([2, 1]))


def test_provenance__a_missing_or_emptied_entry_says_unknown():
    whole = Provenance.of([torch.tensor([1])], [torch.tensor([2])])
    emptied = whole.plain() | {"fitted": torch.empty(0, dtype=torch.int64)}
    for entry in (None, {}, emptied, Provenance.of().plain()):
        assert Provenance.from_plain(entry, "x.ckpt").unknown == ("x.ckpt",)
    assert Provenance.from_plain(whole.plain(), "x.ckpt").unknown == ()


def test_provenance__what_is_unknown_is_handed_on(tmp_path):
    start = Provenance.of(unknown=["x.pt"], published=["ImageNet"])
    record = Provenance.of([torch.tensor([1])]).union(start, start)
    torch.save(record.plain(), tmp_path / "p.pt")
    loaded = Provenance.from_plain(torch.load(tmp_path / "p.pt", weights_only=True))
    assert loaded.origins() == {"unknown_images": ["x.pt"], "published_data": ["ImageNet"]}
    # it says itself what it does not know
    assert Provenance.from_plain(start.plain(), "y.ckpt").unknown == ("x.pt",)
