import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datamodules import Digits, Manifest
from pipelines.main import main
from tests.helpers.manifests import write


def inspected(root, *args, data="image_folder"):
    """Run inspect and return what it wrote."""
    status = main(["inspect", *map(str, args), "--run.root", str(root)])
    assert status == 0
    return json.loads((root / data / "inspect" / "inspect.json").read_text())


@pytest.fixture
def messy(image_folder):
    """Copies, near-copies, a conflict, a broken file and a grey one."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog", "eel"):
        for path in (image_folder / "train" / label).iterdir():
            coarse = Image.fromarray(rng.integers(0, 255, (5, 5, 3), dtype=np.uint8))
            coarse.resize((16, 16), Image.Resampling.BICUBIC).save(path)
    names = sorted((image_folder / "train/cat").iterdir())
    shutil.copy(names[0], image_folder / "train/dog/other_name.png")
    shutil.copy(names[1], image_folder / "test/cat/copy.png")
    picture = Image.open(names[2])
    picture.save(image_folder / "test/cat/compressed.jpg", quality=85)
    (image_folder / "train/eel/broken.png").write_bytes(b"")
    Image.effect_noise((20, 30), 80).save(image_folder / "train/eel/grey.png")
    (image_folder / "train/eel/phone.HEIC").write_bytes(b"")
    return image_folder


def test_inspect__counts_and_findings(messy, tmp_path, capsys):
    found = inspected(tmp_path, "--data", "ImageFolder", "--data.root", messy, "--data.val_fraction", "0")
    assert found["images"] == {"train": [12, 13, 13], "test": [14, 12, 12]}
    assert [line.split("/")[-1].split(" ")[0] for line in found["unreadable"]] == ["broken.png"]
    exact = found["exact_duplicates"]
    assert exact["by_splits"] == {"train": 1, "train-test": 1}
    assert exact["label_conflicts"] == 1
    assert any("train/dog/other_name.png" in group for group in exact["label_conflict_list"])
    across = found["near_duplicates"]["by_splits"]["train-test"]
    assert across == {"pairs": 1, "images": {"train": 1, "test": 1}}
    assert any("test/cat/compressed.jpg" in pair for pair in found["near_duplicates"]["list"])
    assert found["files"]["sizes"]["16x16"] == 75
    assert found["files"]["modes"]["L"] == 1
    assert found["files"]["formats"] == {"PNG": 75, "JPEG": 1}
    assert found["files"]["left_out"] == {".heic": 1}
    printed = capsys.readouterr().out
    assert "77 of 78 files are images; left out: 1 .heic" in " ".join(printed.split())
    assert "unreadable files: 1" in printed
    assert "train-test: 1 pairs: 1 images of train, 1 images of test" in printed
    for name in ("class_distribution.png", "near_duplicates.png"):
        assert (tmp_path / "image_folder/inspect/figures" / name).stat().st_size > 1000


@pytest.fixture
def grouped(messy):
    """A manifest of the messy folder, with sources, and groups of every fourth image."""
    rows = [
        {
            "path": path.relative_to(messy).as_posix(),
            "label": path.parent.name,
            "source": "ab"[path.parent.name == "eel"],
        }
        for path in sorted(messy.rglob("*"))
        if path.suffix in (".png", ".jpg")
    ]
    for number, row in enumerate(rows):
        row["group"] = f"g{number // 8}" if number % 8 < 2 else ""
    return Path(write(messy / "m.csv", rows))


def test_inspect__sources_groups_and_what_cannot_be_read(grouped, tmp_path, capsys):
    for number in range(8):
        (grouped.parent / "train/eel" / f"{number:03d}b.png").write_bytes(b"")
    rows = [{"path": f"train/eel/{number:03d}b.png", "label": "eel"} for number in range(8)]
    with grouped.open("a") as file:
        file.writelines(f"{row['path']},{row['label']},b,\n" for row in rows)
    found = inspected(tmp_path, "--data", "Manifest", "--data.path", grouped, data="manifest")
    for split, sources in found["sources"].items():
        assert np.array(list(sources.values())).sum(0).tolist() == found["images"][split]
    assert found["sources"]["train"]["a"][2] == 0
    assert found["drawn"] == {"val": "--data.val_fraction 0.1", "test": "--data.test_fraction 0.2"}
    groups = found["groups"]["by_split"]
    # ten pairs of 76 images, and two pairs of copies without a group, each of which is one
    assert sum(each["groups"] for each in groups.values()) == 64
    assert {each["largest"] for each in groups.values()} == {1, 2}
    assert found["groups"]["divided"] == {}
    with (tmp_path / "manifest/inspect/unreadable.csv").open(newline="") as file:
        broken = list(csv.DictReader(file))
    assert [row["path"] for row in broken] == ["train/eel/broken.png", *(row["path"] for row in rows)]
    assert broken[0]["reason"] == found["unreadable"][0]
    printed = " ".join(capsys.readouterr().out.split())
    assert "images of each source" in printed
    assert "classes of one source alone: cat (a), dog (a), eel (b): a model may learn the source" in printed
    assert "test: --data.test_fraction 0.2" in printed
    assert "and 4 more all of them:" in printed


def test_inspect__groups_that_the_datas_own_splits_divide(image_folder, tmp_path, capsys):
    table = [
        {
            "path": f"{split}/{label}/{number:03d}.png",
            "label": label,
            "split": split,
            "group": f"{label}{number // 3 % 4}",
        }
        for split in ("train", "test")
        for place, label in enumerate(("cat", "dog", "eel"))
        for number in range(place, 36, 3)
    ]
    path = write(image_folder / "m.csv", table)
    found = inspected(
        tmp_path, "--data", "Manifest", "--data.path", path, "--near_duplicates", "false", data="manifest"
    )
    assert found["drawn"]["test"] == "the data's own"
    divided = sum(found["groups"]["divided"].values())
    assert divided == len({row["group"] for row in table if row["split"] == "test"})
    assert "groups divided by the data's own splits: " in capsys.readouterr().out


def test_write_groups__names_that_are_not_utf8_are_refused(image_folder, tmp_path, capsys):
    root = image_folder
    (root / "train/cat").rename(os.fsdecode(os.fsencode(root / "train") + b"/c\xe4t"))
    (root / "test/cat").rename(os.fsdecode(os.fsencode(root / "test") + b"/c\xe4t"))
    target = tmp_path / "groups.csv"
    words = ["--data", "ImageFolder", "--data.root", str(root), "--write_groups", str(target)]
    assert main(["inspect", *words, "--run.root", str(tmp_path / "runs")]) == 2
    told = capsys.readouterr().err
    assert f"--write_groups {target}: " in told
    assert "cannot be written as UTF-8" in told
    assert not target.exists()


# the unreadable ones are what is tested
@pytest.mark.filterwarnings("ignore:.*cannot be read")
def test_write_groups__near_copies_and_groups_are_never_divided(grouped, tmp_path, capsys):
    target = tmp_path / "groups.csv"
    target.write_text("mine")
    drawn = ("--data.test_fraction", "0.3", "--data.augmentation", "[flip]")
    options = ("--data", "Manifest", "--data.path", grouped, *drawn, "--write_groups", target)
    found = inspected(tmp_path, *options, data="manifest")
    assert (tmp_path / "groups.1.csv").read_text() == "mine"
    with target.open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert len(rows) == sum(map(sum, found["images"].values()))
    pairs = [pair[:2] for pair in found["near_duplicates"]["list"]] + found["exact_duplicates"]["list"]
    assert pairs
    for pair in pairs:
        assert len({rows[name]["group"] for name in pair}) == 1
    # the data's own groups keep their names, and no image is without one
    assert all(row["group"] for row in rows.values())
    kept = [
        (row["group"], rows[row["path"]]["group"])
        for row in csv.DictReader(grouped.open(newline=""))
        if row["group"] and row["path"] in rows
    ]
    assert len(kept) > 10
    assert [before for before, _ in kept] == [after for _, after in kept]
    data = Manifest(path=str(target), root=str(grouped.parent), test_fraction=0.3)
    placed = {name: split for split, samples in data.splits.items() for name in samples.sample_names()}
    assert len(placed) == len(rows)
    assert all(len({placed[name] for name in pair}) == 1 for pair in pairs)
    assert data.dataset.source_names == ("a", "b")
    (command,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("next:")]
    assert command.startswith(f"next:  python train.py fit --data Manifest --data.path {target} ")
    # all other options stand in the command too, so that it splits as inspect did
    assert command.endswith(""" --data.augmentation '["flip"]' --data.test_fraction 0.3""")


def test_inspect__any_data_set_by_its_config(tmp_path):
    found = inspected(tmp_path, "--config", "configs/data/digits.yaml", "--near_duplicates", "false", data="digits")
    data = Digits()
    assert found["images"]["train"] == data.info.class_counts
    assert found["served_size"] == [16, 16]
    assert "near_duplicates" not in found
    assert "files" not in found


def test_inspect__the_config_of_a_run(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("model: {class_path: MLP}\ntrainer: {max_epochs: 3}\ndata: {class_path: Digits}\nseed: 1\n")
    options = ("--data.num_folds", "5", "--near_duplicates", "false")
    found = inspected(tmp_path, "--config", config, *options, data="digits")
    assert sum(found["images"]["val"]) == pytest.approx(1438 / 5, abs=1)


def test_inspect__all_configs_of_a_run(tmp_path):
    config = "--config=configs/data/digits.yaml"
    found = inspected(
        tmp_path, config, "--config", "configs/model/mlp.yaml", "--near_duplicates", "false", data="digits"
    )
    assert found["data"] == "datamodules.Digits"


def test_inspect__names_are_printed_as_they_are(tmp_path, capsys):
    for number, name in enumerate(("do[bold]g", "[cat]")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for image in range(12):
            Image.effect_noise((8, 8), 50 + number).save(tmp_path / "images" / name / f"{image}$_$.png")
    (tmp_path / "images/[cat]/[red]broken.png").write_bytes(b"")
    inspected(tmp_path, "--data", "ImageFolder", "--data.root", tmp_path / "images")
    printed = capsys.readouterr().out
    assert "do[bold]g" in printed
    assert "/[cat]/[red]broken.png cannot be read" in printed


def test_inspect__a_second_one_leaves_the_first(tmp_path):
    for _ in range(2):
        inspected(tmp_path, "--data", "Digits", "--near_duplicates", "false", data="digits")
    assert sorted(path.name for path in (tmp_path / "digits").iterdir()) == ["inspect", "inspect-2"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--config", "configs/data/digit.yaml"), "does not exist; did you mean digits.yaml"),
        (("--config", "configs/trainer/cpu.yaml"), "has no data section"),
        ((), "inspect does not know which data: add --data NAME"),
        (("--data.root", "/nowhere"), "inspect does not know which data: add --data NAME"),
        (("--data", "Digit"), "did you mean Digits"),
        (("--data", "ImageFolder", "--data.roots", "x"), "did you mean root"),
        (("--data", "Digits", "--max_distance", "65"), "--max_distance must be from 0 to 64"),
        (("--data", "Digits", "--write_groups", "a.csv", "--near_duplicates", "false"), "--write_groups needs"),
        (("--data", "Digits", "--write_groups", "a.txt"), "--write_groups a.txt: name a file that ends in .csv"),
        ((), "data"),
    ],
)
def test_inspect__what_is_wrong_is_named(args, message, capsys, tmp_path):
    assert main(["inspect", *args, "--run.root", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


def test_write_groups__labels_no_formula_soft_labels_and_groups_that_are_joined(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = []
    for number in range(24):
        pixels = rng.integers(0, 256, (16, 16), dtype=np.uint8)
        # the first image of patient 1 looks like the first of patient 0
        pixels = Image.open(tmp_path / "00.png") if number == 6 else Image.fromarray(pixels)
        pixels.resize((48, 48)).save(tmp_path / f"{number:02d}.png")
        share = 0.25 if number % 2 else 0.5
        rows.append(
            {
                "path": f"{number:02d}.png",
                "group": f"=patient {number // 6}" if number < 18 else "",
                "source": "+a",
                "p(=cat)": share,
                "p(dog)": 1 - share,
            }
        )
    target = tmp_path / "groups.csv"
    options = ("--data", "Manifest", "--data.path", write(tmp_path / "m.csv", rows), "--write_groups", target)
    inspected(tmp_path / "runs", *options, "--min_correlation", "0.99", data="manifest")
    told = " ".join(capsys.readouterr().out.split())
    assert "near-copies join 1 group of the data's own to others: =patient 1" in told
    text = target.read_text()
    assert "00.png,'=cat,'=patient 0,'+a,0.5,0.5" in text
    assert "06.png,'=cat,'=patient 0,'+a," in text
    assert "18.png,'=cat,18.png," in text
    before, after = Manifest(path=str(tmp_path / "m.csv")), Manifest(path=str(target))
    assert after.dataset.class_names == before.dataset.class_names == ["=cat", "dog"]
    assert after.dataset.source_names == ("+a",)
    assert set(after.dataset.group_names.values()) == {
        "=patient 0", "=patient 2", *(f"{number}.png" for number in range(18, 24))
    }  # fmt: skip
    one, other = (
        {name: row.tolist() for part in data.splits.values() for name, row in rows_of(part)} for data in (before, after)
    )
    assert one == other


def rows_of(samples):
    return zip(samples.sample_names(), samples.targets, strict=True)
