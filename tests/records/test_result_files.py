import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file

from records.partial_files import partial_path
from records.result_files import keep_earlier, says_the_same, write_json, write_predictions


@pytest.mark.parametrize(
    ("earlier", "now", "same"),
    [
        ({"nll": 0.5, "auroc": None}, {"nll": 0.500001, "auroc": None, "loss": 0.5}, True),
        ({"auroc": float("nan")}, {"auroc": float("nan")}, True),
        ({"auroc": float("nan")}, {"auroc": 0.5}, False),
        ({"nll": 0.5}, {"nll": 0.5001}, False),
        ({"nll": 0.5}, {"nll": None}, False),
        ({"a": {"nll": 0.5}}, {"a": {"nll": 0.6}}, False),
        ("mlp", "small_cnn", False),
    ],
)
def test_says_the_same(earlier, now, same):
    assert says_the_same(earlier, now) is same


def test_write_predictions__a_split_is_replaced_whole(tmp_path):
    columns = {"id": torch.arange(2), "label": torch.arange(2), "logits": torch.zeros(2, 3)}
    path = tmp_path / "p.safetensors"
    write_predictions(path, {"test": columns | {"group": torch.ones(2)}})
    write_predictions(path, {"val": columns})
    write_predictions(path, {"test": columns})
    assert set(load_file(path)) == {f"{s}/{n}" for s in ("val", "test") for n in columns}


def test_keep_earlier__counts_up(tmp_path):
    path = tmp_path / "result.json"
    keep_earlier(path)
    for number in range(3):
        write_json(path, {"number": number})
        keep_earlier(path)
    assert [json.loads((tmp_path / f"result.{n}.json").read_text())["number"] for n in (1, 2, 3)] == [0, 1, 2]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")  # noqa: PTH110
def test_keep_earlier__a_full_disk_leaves_no_copy(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("one")
    partial_path(path).symlink_to("/dev/full")
    with pytest.raises(OSError, match="config.1.yaml could not be written: No space left on device"):
        keep_earlier(path)
    assert path.read_text() == "one"
    assert [found.name for found in tmp_path.iterdir()] == ["config.yaml"]


@pytest.mark.parametrize("links", [True, False])
def test_keep_earlier__two_at_once_keep_two_copies(links, tmp_path, monkeypatch):
    def refuse(*paths):
        raise PermissionError("no links here")

    path = tmp_path / "config.yaml"
    path.write_text("one")
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    # another process comes first, right before this one takes the place
    copyfile = shutil.copyfile

    def copy_late(*paths):
        copyfile(*paths)
        path.with_suffix(".1.yaml").write_text("of another")

    monkeypatch.setattr(shutil, "copyfile", copy_late)
    keep_earlier(path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        "config.yaml": "one", "config.1.yaml": "of another", "config.2.yaml": "one"
    }  # fmt: skip


def test_write__leaves_no_partial_file(tmp_path):
    columns = {"id": torch.arange(2), "label": torch.arange(2), "logits": torch.zeros(2, 3)}
    write_predictions(tmp_path / "p.safetensors", {"val": columns})
    write_predictions(tmp_path / "p.safetensors", {"test": columns})
    assert set(load_file(tmp_path / "p.safetensors")) == {f"{s}/{n}" for s in ("val", "test") for n in columns}
    assert [path.name for path in tmp_path.iterdir()] == ["p.safetensors"]
