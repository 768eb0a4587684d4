"""Files classified by a trained model, without the data of its training."""

import csv
import io
import json
import shlex

import numpy as np
import pytest
from PIL import Image

import francesinha
from datamodules import ImageFolder
from pipelines.main import main
from pipelines.predict import command
from pipelines.predict.predictor import Predictor
from pipelines.stack.second_stage import predict_command
from tests.helpers.cli import run
from tests.helpers.data import write_image_folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_image_folder(tmp_path_factory.mktemp("predict") / "images", size=16, per_class=30)


@pytest.fixture(scope="module")
def folder(images):
    data = ("--data", "ImageFolder", "--data.root", images, "--data.batch_size", "8", "--trainer.max_epochs", "2")
    assert run("fit", *data, "--model", "SmallCNN", root=images.parent / "runs") == 0
    return images.parent / "runs/image_folder/small_cnn"


def predict(folder, out, *options):
    return run("predict", "--ckpt_path", folder, "--out", out, *options, quick=False)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict__is_what_test_predicts(images, folder, tmp_path):
    assert run("test", "--ckpt_path", folder) == 0
    tested = {row["name"]: row for row in rows_of(folder / "predictions.csv")}
    assert predict(folder, tmp_path / "p.csv", "--images", images / "test") == 0
    rows = rows_of(tmp_path / "p.csv")
    assert [row["name"] for row in rows] == sorted(row["name"] for row in rows)
    assert len(rows) == len(tested) == 90
    for row in rows:
        other = next(tested[name] for name in tested if row["name"].endswith(name))
        assert row["class"] == other["class"]
        for name in ("p(cat)", "p(dog)", "p(eel)"):
            assert abs(float(row[name]) - float(other[name])) <= 1.1e-6
        assert row["set"].split(" | ")[0] == row["class"]
        assert row["error"] == ""


def test_predict__the_command_that_a_stack_prints(images, folder, tmp_path, capsys):
    data = ImageFolder(root=str(images))
    checkpoint = folder / "checkpoints/best.ckpt"
    words = shlex.split(predict_command(checkpoint, data))
    assert words[:6] == ["python", "train.py", "predict", "--ckpt_path", str(checkpoint), "--images"]
    assert main([*words[2:], "--out", str(tmp_path / "one.csv")]) == 0
    assert [row["name"] for row in rows_of(tmp_path / "one.csv")] == [words[6]]


def test_predict__places_of_every_kind_in_the_order_of_the_command(images, folder, tmp_path, monkeypatch):
    files = sorted((images / "test/cat").iterdir())
    (images / "listed.csv").write_text("label,path\nx,test/cat/" + files[3].name + "\n\n")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{files[4]}\n\n"))
    places = [files[5], f"{images}/test/dog/*1.png", images / "listed.csv", "-", images / "test/eel"]
    # an option that is given again adds to what was given before
    given = ("--images", *places[:2], "--top_k", "2", "--images", *places[2:])
    assert predict(folder, tmp_path / "p.jsonl", *given) == 0
    rows = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text().splitlines()]
    names = [row["name"] for row in rows]
    dogs = sorted(str(path) for path in (images / "test/dog").glob("*1.png"))
    eels = sorted(str(path) for path in (images / "test/eel").iterdir())
    assert names == [str(files[5]), *dogs, str(files[3]), str(files[4]), *eels]
    assert rows[0]["probability"] >= rows[0]["probability_2"]
    assert rows[0]["class"] != rows[0]["class_2"]


def test_predict__tells_unreadable_files_and_goes_on(images, folder, tmp_path, capsys):
    place = tmp_path / "photos"
    place.mkdir()
    for number in range(3):
        Image.fromarray(np.full((9, 9, 3), 40 * number, np.uint8)).save(place / f"{number}.png")
    (place / "1.png").write_bytes(b"")
    (place / "notes.txt").write_text("left out")
    assert predict(folder, tmp_path / "p.csv", "--images", place, place / "gone.png") == 2
    assert "gone.png: no such file or folder" in capsys.readouterr().err
    assert predict(folder, tmp_path / "p.csv", "--images", place) == 0
    told = capsys.readouterr().out
    assert "3 images" in told
    assert "1 of them cannot be read (column error)" in told
    assert "1 .txt" in told
    rows = rows_of(tmp_path / "p.csv")
    assert [bool(row["class"]) for row in rows] == [True, False, True]
    assert "1.png cannot be read" in rows[1]["error"]
    assert predict(folder, tmp_path / "q.csv", "--images", place / "1.png") == 2
    assert "none of 1 files can be read" in capsys.readouterr().err
    assert not (tmp_path / "q.csv").exists()


def test_predict__parquet_and_standard_output(images, folder, tmp_path, capsys):
    parquet = pytest.importorskip("pyarrow.parquet")
    place = images / "test/dog"
    assert predict(folder, tmp_path / "p.parquet", "--images", place, "--probabilities", "false") == 0
    table = parquet.read_table(tmp_path / "p.parquet")
    assert table.column("probability").type == "double"
    capsys.readouterr()
    assert predict(folder, "-", "--images", place, "--probabilities", "false") == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["class"] for row in rows] == table.column("class").to_pylist()
    # the table's own column of paths can be predicted on
    assert predict(folder, tmp_path / "again.csv", "--images", tmp_path / "p.parquet") == 2
    assert "has no column path" in capsys.readouterr().err


def stop_after(monkeypatch, count):
    """Press Ctrl-C once some images have been predicted on."""
    compute = Predictor.logits_of
    seen = []

    def logits_of(self, pictures):
        if sum(seen) >= count:
            raise KeyboardInterrupt
        seen.append(len(pictures))
        return compute(self, pictures)

    monkeypatch.setattr(Predictor, "logits_of", logits_of)
    return seen


def test_predict__goes_on_after_a_stop(images, folder, tmp_path, monkeypatch, capsys):
    words = ("--batch_size", "20", "--images", images / "test")
    assert predict(folder, tmp_path / "whole.csv", *words) == 0
    with monkeypatch.context() as patch:
        stop_after(patch, 40)
        assert predict(folder, tmp_path / "p.csv", *words) == 130
    assert "stopped after 40 images" in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()
    # half a row, as a kill leaves it
    with (tmp_path / "p.csv.partial").open("ab") as file:
        file.write(b"half")
    with monkeypatch.context() as patch:
        seen = stop_after(patch, 1000)
        assert predict(folder, tmp_path / "p.csv", *words) == 0
    assert sum(seen) == 50
    assert "40 images were predicted on before" in capsys.readouterr().err
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole.csv", "p.csv"}


def test_predict__other_images_are_predicted_on_anew(images, folder, tmp_path, monkeypatch, capsys):
    place = tmp_path / "photos"
    place.mkdir()
    for number in range(6):
        Image.fromarray(np.full((9, 9, 3), 40 * number, np.uint8)).save(place / f"{number}.png")
    words = ("--batch_size", "2", "--images", place)
    with monkeypatch.context() as patch:
        stop_after(patch, 4)
        assert predict(folder, tmp_path / "p.csv", *words) == 130
    (place / "0.png").unlink()
    assert predict(folder, tmp_path / "p.csv", *words) == 0
    assert "the images are others" in capsys.readouterr().err
    assert [row["name"][-5:] for row in rows_of(tmp_path / "p.csv")] == [f"{number}.png" for number in range(1, 6)]


def test_predict__an_earlier_file_is_kept(images, folder, tmp_path):
    (tmp_path / "p.csv").write_text("mine")
    assert predict(folder, tmp_path / "p.csv", "--images", images / "test/cat") == 0
    assert (tmp_path / "p.1.csv").read_text() == "mine"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "p.txt"), "--out p.txt must end in .csv, .jsonl, .parquet"),
        (("--out", "p.csv", "--format", "jsonl"), "--format jsonl is of standard output: set --out -"),
        (("--top_k", "0"), "--top_k"),
        (("--coverage", "2"), "--coverage"),
        (("--topk", "2"), "unknown option '--topk'; did you mean --top_k"),
        (("--device", "gpu"), "device 'gpu' cannot be used here"),
    ],
)
def test_options__are_refused_in_a_line(options, message, images, folder, tmp_path, capsys):
    assert run("predict", "--ckpt_path", folder, *options, "--images", images / "test/cat", quick=False) == 2
    told = capsys.readouterr().err
    assert message in told
    assert told.count("\n") <= 2


def test_ahead__holds_two_batches_however_many_files_there_are(folder):
    taken = []

    class Pool:
        def submit(self, function, *args):
            return args

    def names():
        for number in range(1000):
            taken.append(number)
            yield str(number)

    batches = command.ahead(francesinha.load(folder, device="cpu", batch_size=10), names(), Pool())
    for number in range(1, 20):
        next(batches)
        assert len(taken) <= 10 * (number + 1)
