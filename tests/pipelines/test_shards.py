import json

import pytest

from pipelines.main import main
from tests.helpers.cli import run
from tests.helpers.data import write_image_folder


def test_shards__are_written_trained_on_and_tested(tmp_path, capsys):
    images = write_image_folder(tmp_path / "images", splits=("train",))
    words = ("--data", "ImageFolder", "--data.root", str(images / "train"), "--data.cache_dir", str(tmp_path / "cache"))
    assert main(["shards", *words, "--out", str(tmp_path / "shards"), "--shard_mb", "0.01"]) == 0
    assert f"train.py fit --data Streamed --data.root {tmp_path / 'shards'}" in capsys.readouterr().out
    data = ("--data", "Streamed", "--data.root", tmp_path / "shards", "--data.batch_size", 8)
    assert run("fit", *data, "--model", "Linear", "--trainer.max_epochs", 1, root=tmp_path) == 0
    assert run("test", "--ckpt_path", tmp_path / "streamed/linear", root=tmp_path) == 0
    result = json.loads((tmp_path / "streamed/linear/result.json").read_text())
    assert result["samples"] == {"train": 27, "val": 3, "test": 6}
    # the images that the shards were written from are the same to a model that was trained on these
    again = ("--ckpt_path", tmp_path / "streamed/linear", "--data", "ImageFolder", "--data.root", images / "train")
    with pytest.warns(UserWarning, match=r"the model was fitted on copies of \d of the 6 test samples"):
        assert run("test", *again, "--data.split_seed", 5, root=tmp_path) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--data", "Houses"), "shards hold images, and Houses has none"),
        (("--data", "Digits", "--shard_mb", "0"), "--shard_mb must be"),
        (("--data", "Digits", "--shard_md", "1"), "shard_md"),
        (("--data", "Digits", "--out", "README.md"), "README.md is there already"),
        (("--data", "ImageFolder", "--data.root", "nowhere"), "--data.root 'nowhere' is not a folder"),
    ],
)
def test_shards__what_cannot_be_written_is_refused_in_words(words, message, tmp_path, capsys):
    out = () if "--out" in words else ("--out", str(tmp_path / "shards"))
    assert main(["shards", *words, *out]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert len(told.strip().splitlines()) == 1
