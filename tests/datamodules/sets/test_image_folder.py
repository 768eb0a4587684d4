import os
import shutil
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from datamodules import ImageFolder
from tests.helpers.data import write_image_folder


def test_folder__train_and_test_folders(image_folder):
    data = ImageFolder(root=str(image_folder), val_fraction=0.25)
    assert data.info.class_names == ["cat", "dog", "eel"]
    assert data.info.image_size == (16, 16)
    assert {name: len(samples) for name, samples in data.splits.items()} == {
        "train": 27,
        "val": 9,
        "stack": 0,
        "test": 36,
    }


def test_folder__its_own_validation_folder_is_used(tmp_path):
    root = write_image_folder(tmp_path, splits=("train", "valid", "test"))
    data = ImageFolder(root=str(root), val_fraction=0.5)
    assert len(data.splits["train"]) == len(data.splits["val"]) == 36
    assert all(name.startswith("valid/") for name in data.splits["val"].sample_names())


def test_folder__one_folder_is_split(image_folder):
    data = ImageFolder(root=str(image_folder / "train"), test_fraction=0.25, val_fraction=0.2)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [21, 6, 9]


def test_folder__ids_do_not_depend_on_where_it_lies(image_folder, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(image_folder, moved)
    here, there = (ImageFolder(root=str(root)).splits["train"] for root in (image_folder, moved))
    assert torch.equal(here.ids, there.ids)
    assert torch.equal(here.keys, there.keys)


def test_folder__a_copy_under_another_name_has_the_same_key(image_folder):
    shutil.copy(image_folder / "train/cat/000.png", image_folder / "test/cat/copy.png")
    data = ImageFolder(root=str(image_folder), val_fraction=0.0)
    train, test = data.splits["train"], data.splits["test"]
    copied = test.keys[test.sample_names().index("test/cat/copy.png")]
    assert copied in train.keys


def test_folder__mixed_sizes_are_served_alike(image_folder):
    Image.new("L", (40, 20)).save(image_folder / "train/cat/other.png")
    assert ImageFolder(root=str(image_folder)).info.image_size == (224, 224)
    assert ImageFolder(root=str(image_folder), image_size=24).info.image_size == (24, 24)


def test_folder__grey_images_are_served_grey(tmp_path):
    for split in ("train", "test"):
        for number, name in enumerate(("a", "b")):
            (tmp_path / split / name).mkdir(parents=True)
            for copy in range(4):
                Image.new("L", (8, 8), 60 * number + copy).save(tmp_path / split / name / f"{copy}.png")
    assert ImageFolder(root=str(tmp_path)).info.in_channels == 1
    assert ImageFolder(root=str(tmp_path), channels=3).info.in_channels == 3


def test_folder__hidden_and_other_files_are_left_out(image_folder):
    (image_folder / "train/cat/.hidden.png").write_bytes(b"")
    (image_folder / "train/cat/notes.txt").write_text("hello")
    (image_folder / "train/.git").mkdir()
    assert len(ImageFolder(root=str(image_folder), val_fraction=0.0).splits["train"]) == 36


def test_folder__names_with_spaces_newlines_and_unicode(image_folder):
    for name in ("a b.png", "naïve 画.png", "line\nbreak.png"):
        Image.effect_noise((16, 16), len(name)).save(image_folder / "train/cat" / name)
    data = ImageFolder(root=str(image_folder), val_fraction=0.0)
    assert "train/cat/line\nbreak.png" in data.splits["train"].sample_names()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: shutil.rmtree(root), "is not a folder"),
        (lambda root: (root / "train/empty").mkdir(), "class folder .*empty holds no image"),
        (lambda root: shutil.copytree(root / "test/cat", root / "test/fox"), "holds class 'fox', which the training"),
        (lambda root: (root / "train/cat/000.png").write_bytes(b""), "000.png cannot be read as an image"),
        (lambda root: [shutil.rmtree(root / "train" / name) for name in ("cat", "dog")], "at least 2 classes"),
    ],
)
def test_folder__what_is_wrong_is_named(image_folder, break_it, message):
    break_it(image_folder)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _ = ImageFolder(root=str(image_folder)).splits


def test_predict_root__files_at_any_depth_without_labels(image_folder):
    data = ImageFolder(root=str(image_folder), predict_root=str(image_folder / "test"), image_size=16)
    samples = data.samples("predict")
    assert len(samples) == 36
    assert set(samples.labels.tolist()) == {-1}


def test_predict_root__empty(image_folder, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="--data.predict_root .* holds no image"):
        ImageFolder(root=str(image_folder), predict_root=str(tmp_path / "none")).samples("predict")


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_skip__unreadable_files_are_counted_and_listed(image_folder, tmp_path, cache):
    (image_folder / "train/cat/000.png").write_bytes(b"")
    (image_folder / "test/dog").mkdir(exist_ok=True)
    (image_folder / "test/dog/broken.jpg").write_bytes(b"no image")
    data = ImageFolder(
        root=str(image_folder), val_fraction=0.0, cache=cache, cache_dir=str(tmp_path / "c"), on_unreadable="skip"
    )
    with pytest.warns(UserWarning, match=r"2 of 73 files are left out .*000.png cannot be read"):
        assert len(data.splits["train"]) == 35
    assert len(data.splits["test"]) == 36
    assert [("000.png" in line, "broken.jpg" in line) for line in data.dataset.skipped] == [
        (True, False),
        (False, True),
    ]
    served = torch.cat([batch["id"] for batch in data.test_dataloader()])
    assert torch.equal(served, data.splits["test"].ids)


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_error__an_unreadable_file_stops_before_training(image_folder, tmp_path, cache):
    (image_folder / "train/dog/001.png").write_bytes(b"\x89PNG broken")
    data = ImageFolder(root=str(image_folder), cache=cache, cache_dir=str(tmp_path / "c"))
    with pytest.raises(ValueError, match="001.png cannot be read as an image"):
        _ = data.info


def test_skip__a_class_without_a_readable_image_is_named(image_folder):
    for path in (image_folder / "train/cat").iterdir():
        path.write_bytes(b"")
    no_image = pytest.raises(ValueError, match="class 'cat' has no readable image")
    with pytest.warns(UserWarning, match="left out"), no_image:
        _ = ImageFolder(root=str(image_folder), on_unreadable="skip").splits


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_cache__all_give_the_same_batches(image_folder, tmp_path, cache, workers):
    reference = list(ImageFolder(root=str(image_folder), batch_size=8).test_dataloader())
    options = {"cache": cache, "cache_dir": str(tmp_path / "c"), "num_workers": workers}
    for _ in range(2):
        data = ImageFolder(root=str(image_folder), batch_size=8, **options)
        for left, right in zip(data.test_dataloader(), reference, strict=True):
            assert all(torch.equal(left[name], right[name]) for name in right)


def test_folds__for_test_need_no_other_test_split(image_folder):
    data = ImageFolder(root=str(image_folder / "train"), num_folds=3, held_out="test", val_fraction=0.25)
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [18, 6, 12]


def test_folds__for_validation_beside_a_validation_folder_are_refused(tmp_path):
    root = write_image_folder(tmp_path, splits=("train", "val", "test"))
    with pytest.raises(ValueError, match="--data.held_out val is in the way"):
        _ = ImageFolder(root=str(root), num_folds=3).splits


def test_predict_root__unreadable_files(image_folder):
    (image_folder / "test/cat/000.png").write_bytes(b"")
    options = {"root": str(image_folder), "predict_root": str(image_folder / "test"), "image_size": 16}
    with pytest.raises(ValueError, match="000.png cannot be read"):
        ImageFolder(**options).samples("predict")
    with pytest.warns(UserWarning, match="1 of 36 files are left out .*000.png"):
        assert len(ImageFolder(**options, on_unreadable="skip").samples("predict")) == 35


def test_folder__pictures_on_their_side_are_served_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(4):
            Image.effect_noise((40, 30), 50).save(tmp_path / name / f"{number}.jpg", exif=exif)
    assert ImageFolder(root=str(tmp_path)).info.image_size == (40, 30)


def test_skip__a_test_folder_without_a_readable_image(image_folder):
    for path in image_folder.glob("test/*/*"):
        path.write_bytes(b"")
    left_out = pytest.warns(UserWarning, match="36 of 72 files are left out")
    with left_out, pytest.raises(ValueError, match="test split has no readable image"):
        _ = ImageFolder(root=str(image_folder), on_unreadable="skip").splits


NFC, NFD = (unicodedata.normalize(form, "chêne") for form in ("NFC", "NFD"))


def folders(root, counts):
    for name, count in counts.items():
        (root / name).mkdir(parents=True)
        for number in range(count):
            Image.effect_noise((8, 8), 20 + number).save(root / name / f"{number}.png")
    return root


def test_folder__train_from_linux_and_test_from_a_mac(tmp_path):
    folders(tmp_path / "train", {NFC: 4, "pin": 4})
    folders(tmp_path / "test", {NFD: 3, "pin": 2})
    data = ImageFolder(root=str(tmp_path), val_fraction=0.0)
    assert data.dataset.class_names == ["chêne", "pin"]
    assert data.splits["test"].labels.bincount().tolist() == [3, 2]


def test_folder__two_unicode_forms_are_one_class(tmp_path):
    folders(tmp_path, {NFC: 4, NFD: 3, "pin": 4})
    with pytest.warns(UserWarning, match=r"\(3 images\) and .* \(4 images\) are one class, 'chêne'"):
        data = ImageFolder(root=str(tmp_path), test_fraction=0.0, val_fraction=0.0).dataset
    assert data.class_names == ["chêne", "pin"]
    assert data.train.labels.bincount().tolist() == [7, 4]


def test_folder__classes_that_look_alike(tmp_path):
    root = folders(tmp_path, {"Cat": 3, "cat": 2, "dog ": 1, "dog": 2})
    message = r"'Cat' \(3 images\) and 'cat' \(2 images\), 'dog' \(2 images\) and 'dog ' \(1 images\): rename or join"
    with pytest.raises(ValueError, match=message):
        _ = ImageFolder(root=str(root)).dataset
    options = {"test_fraction": 0.0, "val_fraction": 0.0, "alike_names": "allow"}
    with pytest.warns(UserWarning, match="look alike"):
        assert len(ImageFolder(root=str(root), **options).dataset.class_names) == 4


def test_folder__a_test_class_that_looks_like_another(tmp_path):
    folders(tmp_path / "train", {"cat": 2, "dog": 2})
    folders(tmp_path / "test", {"Cat": 2, "eel": 2})
    with pytest.raises(ValueError, match=r"holds 2 classes: 'Cat' \(looks like 'cat'\), 'eel', which the training"):
        _ = ImageFolder(root=str(tmp_path)).dataset


def test_folder__all_empty_class_folders_are_told(tmp_path):
    folders(tmp_path, {"a": 2, **{f"b{number}": 0 for number in range(7)}})
    with pytest.raises(ValueError, match="7 class folders hold no image: .*b0, .* and 2 more"):
        _ = ImageFolder(root=str(tmp_path)).dataset


@pytest.mark.parametrize("cache", ["ram", "disk", "none"])
def test_unreadable__all_are_told_at_once(image_folder, tmp_path, cache):
    for name in ("train/cat/000.png", "train/dog/001.png", "test/cat/000.png"):
        (image_folder / name).write_bytes(b"")
    os.mkfifo(image_folder / "train/eel/pipe.png")
    (image_folder / "train/eel/zero.jpg").symlink_to("/dev/zero")
    options = {"root": str(image_folder), "cache": cache, "cache_dir": str(tmp_path / "c")}
    message = "5 of 74 files cannot be read: .*a pipe, not a file.*a device.*by --data.on_unreadable skip"
    with pytest.raises(ValueError, match=message):
        _ = ImageFolder(**options).info
    with pytest.warns(UserWarning, match="5 of 74 files are left out"):
        assert len(ImageFolder(**options, on_unreadable="skip").dataset.skipped) == 5


def test_left_out__is_counted(image_folder):
    (image_folder / "train/cat/a.heic").write_bytes(b"")
    (image_folder / "train/cat/Thumbs.db").write_bytes(b"")
    data = ImageFolder(root=str(image_folder))
    with pytest.warns(UserWarning, match="72 of 74 files are images; left out: 1 .heic"):
        assert data.dataset.left_out == {".heic": 1, "Thumbs.db": 1}


def deep_folder(root, most, count=12, split=""):
    """Write 16-bit images of two classes with values up to one."""
    rng = np.random.default_rng(0)
    for number, name in enumerate("ab"):
        (root / split / name).mkdir(parents=True)
        for copy in range(count):
            pixels = rng.integers(0, most // 2, (16, 16)) + number * most // 2
            Image.fromarray(pixels.astype(np.uint16)).save(root / split / name / f"{copy}.png")
    return root


def test_range__auto_takes_the_depth_of_the_training_images(tmp_path):
    data = ImageFolder(root=str(deep_folder(tmp_path, 4000)))
    assert data.info.value_range == "0,4095"
    images = data.splits["train"].source.gather(data.splits["train"].rows)
    assert images.max() > 240
    assert len(images.unique()) > 200
    (note,) = data.dataset.notes
    assert "values from 0 to 3999: 0,4095 becomes 0 to 255" in note


def test_range__full_warns_of_narrow_data(tmp_path):
    data = ImageFolder(root=str(deep_folder(tmp_path, 4000)), value_range="full")
    with pytest.warns(UserWarning, match="24 of 24 files use less than a quarter of what their pixels can hold"):
        assert data.info.value_range == "full"


def test_range__narrow_data_of_8_bits_is_told(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for copy in range(8):
            Image.new("L", (8, 8), 3 * copy).save(tmp_path / name / f"{copy}.png")
    with pytest.warns(UserWarning, match="the images use values 0 to 21 of 0 to 255, less than a quarter"):
        assert ImageFolder(root=str(tmp_path)).info.value_range == "full"
    data = ImageFolder(root=str(tmp_path), value_range=(0.0, 21.0), test_fraction=0, val_fraction=0)
    assert data.splits["train"].source.gather(torch.arange(8)).max() == 255


def test_range__of_the_training_images_holds_for_all(tmp_path):
    # whatever the test images and those to predict on hold
    deep_folder(tmp_path, 4000, split="train")
    deep_folder(tmp_path, 300, split="test")
    (tmp_path / "new").mkdir()
    Image.fromarray(np.full((16, 16), 255, dtype=np.uint16)).save(tmp_path / "new/x.png")
    (tmp_path / "new").rename(tmp_path.parent / f"{tmp_path.name}-new")
    data = ImageFolder(root=str(tmp_path), predict_root=f"{tmp_path}-new")
    assert data.samples("predict").source.gather(torch.tensor([0])).max() == 255 * 255 // 4095
    test = data.splits["test"]
    assert test.source.gather(test.rows).max() == 299 * 255 // 4095
    assert data.info.value_range == "0,4095"


def test_range__other_pixels_have_other_logits(tmp_path):
    root = str(deep_folder(tmp_path, 4000))
    keys = {
        data.pixel_key(data.splits["train"])
        for data in (ImageFolder(root=root, value_range=option) for option in ("auto", "0,5000", "full", "0,4095"))
    }
    assert len(keys) == 3


def test_range__what_is_no_range_is_refused_before_anything_is_read():
    with pytest.raises(ValueError, match="--data.value_range must be auto, full or MIN,MAX"):
        ImageFolder(root="gone", value_range="wide")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "does not exist"),
        (lambda path: path.mkdir(), "holds no image: it is empty"),
        (os.mkfifo, "is a pipe: name a folder of images"),
    ],
)
def test_predict_root__what_is_wrong_is_named(image_folder, tmp_path, make, message):
    make(tmp_path / "new")
    with pytest.raises(FileNotFoundError, match=f"--data.predict_root .*new' {message}"):
        ImageFolder(root=str(image_folder), predict_root=str(tmp_path / "new")).samples("predict")


def test_predict_root__files_without_an_image_are_counted(image_folder, tmp_path):
    (tmp_path / "new").mkdir()
    for name in ("a.txt", "b.txt", "c.heic"):
        (tmp_path / "new" / name).write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="0 of 3 files are images; left out: 1 .heic .*, 2 .txt"):
        ImageFolder(root=str(image_folder), predict_root=str(tmp_path / "new")).samples("predict")
    shutil.copy(image_folder / "test/cat/000.png", tmp_path / "new")
    data = ImageFolder(root=str(image_folder), predict_root=str(tmp_path / "new"))
    with pytest.warns(UserWarning, match="1 of 4 files are images"):
        assert len(data.samples("predict")) == 1
    assert "1 of 4 files are images" in data.predict_notes[0]
    # one file by itself, whatever its suffix
    data = ImageFolder(root=str(image_folder), predict_root=str(tmp_path / "new/000.png"))
    assert len(data.samples("predict")) == 1
