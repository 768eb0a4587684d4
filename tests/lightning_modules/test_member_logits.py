import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder
from ensembling.cache import LogitCache, LogitCounts
from lightning_modules import MLP, SmallCNN
from lightning_modules import member_logits as module
from lightning_modules.checkpoints import load_classifier, read_base
from lightning_modules.member_logits import stack_logits
from tests.helpers.data import Blobs, write_image_folder
from tests.helpers.training import fit
from tests.helpers.warm import Started

CPU = torch.device("cpu")


def member_logits(checkpoint, *args, **options):
    """One base's logits, (sample, class)."""
    return stack_logits([checkpoint], *args, **options)[:, 0]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    folders = [tmp_path_factory.mktemp(name) for name in ("mlp", "cnn")]
    data = Blobs()
    models = [MLP(data_info=data.info, hidden=[8]), SmallCNN(data_info=data.info)]
    return [fit(model, data, folder, max_epochs=1) for model, folder in zip(models, folders, strict=True)]


@pytest.fixture
def cache(tmp_path):
    return LogitCache(tmp_path / "cache")


def direct(path, samples):
    with torch.no_grad():
        return load_classifier(path)(samples.source.gather(samples.rows))


def logits_and_counts(path, samples, data, cache, **options):
    counts = LogitCounts()
    logits = member_logits(path, samples, data, CPU, cache=cache, counts=counts, **options)
    return logits, (counts.computed, counts.reused)


def test_member_logits__are_the_models_and_are_computed_once(checkpoints, cache):
    data = Blobs(batch_size=7)
    samples = data.splits["train"]
    logits, counts = logits_and_counts(checkpoints[1], samples, data, cache)
    assert counts == (len(samples), 0)
    assert torch.allclose(logits, direct(checkpoints[1], samples), atol=1e-5)
    assert (logits.dtype, logits.shape) == (torch.float32, (len(samples), 3))
    # any order, subset and split of the same images
    chosen = torch.randperm(len(samples))[:20]
    again, counts = logits_and_counts(checkpoints[1], samples.subset(chosen), data, cache)
    assert counts == (0, 20)
    assert torch.equal(again, logits[chosen])
    other = Blobs(split_seed=5, num_folds=4, batch_size=16)
    both = [other.splits[split] for split in ("train", "val")]
    reused = sum(torch.isin(s.keys, samples.keys).sum() for s in both)
    found = [logits_and_counts(checkpoints[1], s, other, cache) for s in both]
    assert sum(counts[1] for _, counts in found) == reused
    for (rows, _), part in zip(found, both, strict=True):
        assert torch.allclose(rows, direct(checkpoints[1], part), atol=1e-5)


def test_member_logits__without_a_cache(checkpoints):
    data = Blobs()
    samples = data.splits["test"]
    for _ in range(2):
        logits, counts = logits_and_counts(checkpoints[0], samples, data, None)
        assert counts == (len(samples), 0)
    assert torch.allclose(logits, direct(checkpoints[0], samples), atol=1e-5)


def test_member_logits__copies_of_an_image_share_a_row(checkpoints, cache):
    data = Blobs()
    samples = data.splits["train"].subset([3, 1, 3, 2, 1])
    logits, _ = logits_and_counts(checkpoints[0], samples, data, cache)
    assert torch.allclose(logits, direct(checkpoints[0], samples), atol=1e-5)
    assert logits_and_counts(checkpoints[0], samples, data, cache)[1] == (0, 5)


def test_member_logits__a_byte_changed_in_the_checkpoint(checkpoints, cache, tmp_path):
    data = Blobs()
    samples = data.splits["test"]
    path = shutil.copy(checkpoints[0], tmp_path / "copy.ckpt")
    logits_and_counts(path, samples, data, cache)
    # the same content in another place is the same base
    assert logits_and_counts(checkpoints[0], samples, data, cache)[1][0] == 0
    saved = torch.load(path, weights_only=True)
    saved["state_dict"]["head.bias"][0] += 1
    torch.save(saved, path)
    logits, counts = logits_and_counts(path, samples, data, cache)
    assert counts == (len(samples), 0)
    assert torch.allclose(logits, direct(path, samples), atol=1e-5)


@pytest.mark.parametrize("options", [{"tta": "flip"}, {"precision": "bf16-mixed"}])
def test_member_logits__tta_and_precision_have_rows_of_their_own(checkpoints, cache, options):
    data = Blobs()
    samples = data.splits["test"]
    plain, _ = logits_and_counts(checkpoints[1], samples, data, cache)
    other, counts = logits_and_counts(checkpoints[1], samples, data, cache, **options)
    assert counts == (len(samples), 0)
    assert not torch.equal(plain, other)
    assert torch.allclose(plain.softmax(1), other.softmax(1), atol=0.3)
    # without autocast a base runs in the precision of its weights, whatever the head runs in
    assert logits_and_counts(checkpoints[1], samples, data, cache, precision="64-true")[1][0] == 0


def test_member_logits__other_sizes_and_channels_have_rows_of_their_own(cache, tmp_path):
    root = str(write_image_folder(tmp_path / "images", per_class=4))
    sizes = [ImageFolder(root=root, **options) for options in ({}, {"image_size": 8}, {"image_size": 8, "channels": 1})]
    path = fit(SmallCNN(data_info=sizes[0].info, input_size=16), sizes[0], tmp_path, max_epochs=1)
    for data in sizes[:2]:
        samples = data.splits["test"]
        logits, counts = logits_and_counts(path, samples, data, cache)
        assert counts == (len(samples), 0)
        assert torch.allclose(logits, direct(path, samples), atol=1e-5)
    keys = {data.pixel_key(data.splits["test"]) for data in sizes}
    assert len(keys) == 3


@pytest.mark.parametrize("options", [{"cache": "none"}, {"cache": "disk"}])
def test_member_logits__an_image_that_changed_and_one_that_moved(cache, tmp_path, options):
    root = write_image_folder(tmp_path / "images", per_class=4)
    options |= {"cache_dir": str(tmp_path / "decoded")}
    data = ImageFolder(root=str(root), **options)
    path = fit(MLP(data_info=data.info, hidden=[8]), data, tmp_path, max_epochs=1)
    before, _ = logits_and_counts(path, data.splits["test"], data, cache)
    first = sorted((root / "test/cat").iterdir())[0]
    Image.fromarray(255 - np.asarray(Image.open(first))).save(first)
    root = root.rename(tmp_path / "elsewhere")
    (root / "test/eel").rename(root / "test/eel_")
    (root / "test/eel_").rename(root / "test/eel")
    data = ImageFolder(root=str(root), **options)
    after, counts = logits_and_counts(path, data.splits["test"], data, cache)
    assert counts == (1, len(before) - 1)
    assert (after != before).any(1).sum() == 1
    assert torch.allclose(after, direct(path, data.splits["test"]), atol=1e-5)


def test_member_logits__a_damaged_shard_is_computed_again(checkpoints, cache):
    data = Blobs()
    samples = data.splits["test"]
    logits, _ = logits_and_counts(checkpoints[0], samples, data, cache)
    (shard,) = cache.folder.rglob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=shard.name):
        again, counts = logits_and_counts(checkpoints[0], samples, data, cache)
    assert counts == (len(samples), 0)
    assert torch.equal(again, logits)
    assert logits_and_counts(checkpoints[0], samples, data, cache)[1] == (0, len(samples))


def test_member_logits__that_are_not_finite_name_the_base_and_are_not_kept(checkpoints, cache, tmp_path):
    saved = torch.load(checkpoints[0], weights_only=True)
    saved["state_dict"]["head.bias"][1] = float("nan")
    torch.save(saved, tmp_path / "broken.ckpt")
    data = Blobs()
    with pytest.raises(ValueError, match=f"member {tmp_path}/broken.ckpt gives logits that are not finite"):
        stack_logits([checkpoints[0], tmp_path / "broken.ckpt"], data.splits["test"], data, CPU, cache=cache)
    assert not cache.folder.exists()


def test_member_logits__a_checkpoint_that_changes_meanwhile_is_refused(checkpoints, cache, tmp_path, monkeypatch):
    path = shutil.copy(checkpoints[0], tmp_path / "copy.ckpt")

    def load(path, digest):
        shutil.copy(checkpoints[1], path)
        return load_classifier(path, digest)

    monkeypatch.setattr(module, "load_classifier", load)
    data = Blobs()
    with pytest.raises(ValueError, match="copy.ckpt was written anew while it was read"):
        member_logits(path, data.splits["test"], data, CPU, cache=cache)
    assert not cache.folder.exists()


def test_member_logits__no_samples():
    data = Blobs()
    with pytest.raises(ValueError, match="no sample"):
        member_logits("x.ckpt", data.splits["stack"], data, CPU)


def test_stack_logits__each_base_fills_what_it_lacks(checkpoints, cache, monkeypatch):
    data = Blobs()
    samples = data.splits["train"]
    logits_and_counts(checkpoints[0], samples.subset(torch.arange(30)), data, cache)
    counts = LogitCounts()
    logits = stack_logits(checkpoints, samples, data, CPU, cache=cache, counts=counts)
    assert (counts.computed, counts.reused) == (2 * len(samples) - 30, 30)
    expected = torch.stack([direct(path, samples) for path in checkpoints], 1)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_stack_logits__bases_that_lack_the_same_share_one_pass(checkpoints, monkeypatch):
    data, passes = Blobs(), []
    loader = data.loader
    monkeypatch.setattr(data, "loader", lambda samples: passes.append(len(samples)) or loader(samples))
    stack_logits(checkpoints, data.splits["test"], data, CPU)
    assert passes == [len(data.splits["test"])]


def test_load__leaves_random_numbers_as_they_are(checkpoints):
    data = Blobs()
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    member_logits(checkpoints[0], data.splits["test"], data, CPU)
    assert torch.equal(torch.rand(3), expected)


def test_read_base__knows_what_the_model_knows(checkpoints):
    for path in checkpoints:
        base, model = read_base(path), load_classifier(path)
        assert base.parameters == sum(p.numel() for p in model.parameters())
        assert base.info == model.info
        assert torch.equal(base.provenance.fitted, model.provenance.fitted)


def test_read_base__of_an_earlier_version(checkpoints, tmp_path):
    saved = torch.load(checkpoints[0], weights_only=True)
    del saved["parameters"]
    torch.save(saved, tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match="old.ckpt was written by an earlier version"):
        read_base(tmp_path / "old.ckpt")


def _in_process(rank, folder, checkpoints):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    data = Blobs(batch_size=10)
    strategy = SimpleNamespace(broadcast=lambda seed: seed, root_device=CPU)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=2, strategy=strategy)
    samples, shared = data.splits["train"], folder / "cache"
    # the second process sees rows that the first does not: both must agree on what to run
    unlike = LogitCache(shared if rank else folder / "empty")
    first = stack_logits(checkpoints, samples, data, CPU, cache=unlike)
    # one image lacks its row, which only one process could run: the other must run one too
    second = stack_logits(checkpoints, samples, data, CPU, cache=LogitCache(shared))
    torch.save([first, second], folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_stack_logits__two_processes(checkpoints, tmp_path):
    data = Blobs(batch_size=10)
    samples = data.splits["train"]
    expected = torch.stack([direct(path, samples) for path in checkpoints], 1)
    cache = LogitCache(tmp_path / "cache")
    stack_logits(checkpoints, samples.subset(torch.arange(1, len(samples))), data, CPU, cache=cache)
    both = [Started(_in_process, rank, tmp_path, checkpoints) for rank in (0, 1)]
    for ended in (one.ended() for one in both):
        assert ended.returncode == 0, ended.stderr
    for rank in (0, 1):
        for logits in torch.load(tmp_path / f"{rank}.pt"):
            assert torch.allclose(logits, expected, atol=1e-5)
    assert cache_has_all(cache, checkpoints, samples, data)


def cache_has_all(cache, checkpoints, samples, data):
    counts = LogitCounts()
    stack_logits(checkpoints, samples, data, CPU, cache=cache, counts=counts)
    return counts.computed == 0
