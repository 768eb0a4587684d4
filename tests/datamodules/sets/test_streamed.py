from types import SimpleNamespace

import pytest
import torch

from datamodules import ImageFolder, Manifest, Streamed
from datamodules.samples import TensorSource
from datamodules.shards.writing import write_shards
from records.damaged import DamagedFileError
from tests.helpers.shards import flip, streamed, write


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write(tmp_path_factory.mktemp("streamed"))


@pytest.fixture(scope="module")
def undivided(tmp_path_factory):
    return write(tmp_path_factory.mktemp("undivided"), per_class=30, splits=("train",))


SPLITS = [
    {},
    {"stack_fraction": 0.2, "val_fraction": 0.2},
    {"num_folds": 3, "fold": 1, "held_out": "test"},
    {"test_fraction": 0.3, "test_stratified": False},
    {"subsample": 0.5, "split_seed": 4, "test_subsample": 0.5},
    {"split_version": 1, "long_tail": "step", "imbalance_ratio": 2},
]


@pytest.mark.parametrize("options", SPLITS, ids=str)
@pytest.mark.parametrize("which", ["written", "undivided"])
def test_streamed__is_the_data_that_it_was_written_from(which, options, request):
    images, shards = request.getfixturevalue(which)
    data, same = ImageFolder(root=str(images), num_workers=0, **options), streamed(shards, **options)
    assert data.info == same.info
    for split, samples in data.splits.items():
        others = same.splits[split]
        assert data.fingerprint(split) == same.fingerprint(split)
        for column in ("ids", "keys", "labels", "pixels", "looks"):
            assert torch.equal(getattr(samples, column), getattr(others, column))
        assert samples.sample_names() == others.sample_names()
        images = [each.source.gather(each.rows) for each in (samples, others)]
        assert torch.equal(*images) if len(samples) else not len(others)
    # what one has computed of an image, the other need not compute again; and a model knows what it was fitted on
    assert data.pixel_key(data.splits["train"]) == same.pixel_key(same.splits["train"])
    assert data.record.digests == same.record.digests
    assert same.provenance.knows(data.splits["train"], "fitted").all()
    assert not same.provenance.knows(data.splits["test"], "fitted").any()


def test_streamed__groups_sources_and_features_come_along(tmp_path, written):
    images, _ = written
    names = sorted(path.relative_to(images).as_posix() for path in images.glob("train/*/*.png"))
    rows = [
        f"{name},{name.split('/')[1]},{'ab'[n % 2]},g{n // 3},{n},{['x', 'y'][n % 2]}" for n, name in enumerate(names)
    ]
    table = tmp_path / "all.csv"
    table.write_text("\n".join(["path,label,source,group,age,sex", *rows]))
    options = {"features": ["age", "sex"], "test_fraction": 0.0, "num_workers": 0}
    data = Manifest(path=str(table), root=str(images), **options)
    write_shards(data, tmp_path / "shards")
    same = streamed(tmp_path / "shards", test_fraction=0.0)
    assert same.info == data.info
    for column in ("groups", "group_forms", "sources", "features"):
        ours, theirs = (getattr(each.splits["train"], column) for each in (same, data))
        assert (ours is None) == (theirs is None)
        assert ours is None or torch.equal(ours, theirs)
    assert same.dataset.group_names == data.dataset.group_names
    assert same.dataset.source_names == data.dataset.source_names
    assert same.texts_of("train") == data.texts_of("train")
    held = streamed(tmp_path / "shards", test_fraction=0.0, leave_out_source="b").splits["val"]
    assert set(held.sources.tolist()) == {1}


def test_streamed__a_changed_pixel_label_or_id_is_seen(tmp_path):
    _, shards = write(tmp_path)
    path = shards / "train/chunk-0-0.bin"
    begin = 4 * (8 + 2)
    for place in (begin + 5, begin + 20, begin + 40, begin + 800, begin + 812):
        data = streamed(shards)
        samples = data.dataset.train
        flip(path, place)
        with pytest.raises(DamagedFileError, match=r"chunk-0-0.bin is damaged \(its sample 0 of 8 is not the one"):
            samples.source.gather(samples.rows)
        flip(path, place)
        assert len(samples.source.gather(samples.rows)) == 36


def test_streamed__one_that_is_cut_off_while_it_is_read(tmp_path):
    _, shards = write(tmp_path)
    samples = streamed(shards).dataset.train
    path = shards / "train/chunk-0-0.bin"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DamagedFileError, match="its sample 7 of 8"):
        samples.source.gather(samples.rows)


@pytest.mark.parametrize("workers", [0, 3])
def test_streamed__threads_read_the_same(written, workers):
    one, several = (streamed(written[1], num_workers=number).dataset.train for number in (0, workers))
    rows = torch.tensor([5, 30, 5, 0, 17])
    assert torch.equal(one.source.gather(rows), several.source.gather(rows))


def processes(data, rank, world):
    data.trainer = SimpleNamespace(
        global_rank=rank,
        world_size=world,
        strategy=SimpleNamespace(broadcast=lambda value: value, root_device=torch.device("cpu")),
    )
    return data


@pytest.mark.parametrize("split", ["train", "test"])
def test_streamed__each_process_reads_its_share_of_the_shards(undivided, split):
    shares, needed = [], []
    for rank in range(2):
        data = processes(streamed(undivided[1], val_fraction=0.0), rank, 2)
        torch.manual_seed(1)
        loader = data.loader(data.splits[split], shuffle=split == "train")
        ids = [batch["id"].tolist() for batch in loader]
        shares.append(ids)
        rows = {int(each): number for number, each in enumerate(data.splits[split].source.ids)}
        needed.append({int(data.splits[split].source.shard[rows[each]]) for batch in ids for each in batch})
    assert len(shares[0]) == len(shares[1])
    flat = sorted(each for share in shares for batch in share for each in batch)
    assert flat == data.splits[split].ids.sort().values.tolist()
    # they share the one shard that lies across
    assert len(needed[0] & needed[1]) <= 1 < len(needed[0])


def test_streamed__streams_must_be_dealt_out_evenly(undivided):
    data = processes(streamed(undivided[1], streams=4), 0, 3)
    with pytest.raises(ValueError, match="--data.streams 4 cannot be dealt out to 3 processes: use a multiple of 3"):
        data.order(data.splits["train"], True, 3)
    # evaluation needs none
    assert len(data.order(data.splits["test"], False, 3)) == len(data.splits["test"])


def test_streamed__other_inputs_are_served_in_any_order(written):
    data = streamed(written[1])
    samples = data.splits["train"].with_source(TensorSource(torch.zeros(33, 4), "logits"))
    assert type(data.order(samples, True, 1)).__name__ == "Shuffled"
    assert sum(len(batch["logits"]) for batch in data.loader(samples, shuffle=True)) == 33


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_device": True}, "--data.on_device true holds all images, and --data Streamed never does"),
        ({"cache_gb": 0.0}, "--data.cache_gb must be above 0"),
        ({"mixed_shards": 0}, "--data.mixed_shards must be at least 1"),
        ({"fetch_ahead": -1}, "--data.fetch_ahead must be from 0 to 1000"),
        ({"streams": 0}, "--data.streams must be at least 1"),
    ],
)
def test_streamed__options_that_it_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        Streamed(**options)


def test_streamed__another_size_is_refused(written):
    with pytest.raises(ValueError, match="--data.image_size 8 cannot be served .* 16x16 pixels"):
        _ = streamed(written[1], image_size=8).dataset
    assert streamed(written[1], image_size=16).info.image_size == (16, 16)
