from collections import Counter

import pytest
from PIL import Image

from datamodules import ImageFolder
from datamodules.files.folder_layout import find_splits, split_of


def write(root, *folders, count=4):
    """Write images into folders."""
    for number, folder in enumerate(folders):
        (root / folder).mkdir(parents=True)
        for image in range(count):
            Image.effect_noise((8, 8), 20 + number).save(root / folder / f"{number}-{image}.png")
    return root


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "train"),
        ("Train", "train"),
        ("TRAINING", "train"),
        ("Training Set", "train"),
        ("train_images", "train"),
        ("valid", "val"),
        ("Validation", "val"),
        ("VAL", "val"),
        ("dev", "val"),
        ("Testing", "test"),
        ("test-data", "test"),
        ("eval", "test"),
        ("trainer", None),
        ("invalid", None),
        ("set", None),
        ("testis", None),
        ("contest", None),
    ],
)
def test_split_of(name, split):
    assert split_of(name) == split


def test_splits__of_another_spelling_are_splits(tmp_path):
    root = write(tmp_path, "Training/a", "Training/b", "VALID/a", "VALID/b", "Testing/a", "Testing/b")
    data = ImageFolder(root=str(root))
    assert data.info.class_names == ["a", "b"]
    assert {name: len(samples) for name, samples in data.splits.items()} == {
        "train": 8,
        "val": 8,
        "stack": 0,
        "test": 8,
    }


def test_splits__a_class_may_have_such_a_name(tmp_path):
    # a vehicle among others, and a verdict
    for names in (("bus", "car", "train"), ("valid", "invalid")):
        root = write(tmp_path / names[0], *names)
        assert ImageFolder(root=str(root)).dataset.class_names == sorted(names)


REFUSED = {
    "test alone": (("test/a", "test/b"), "holds test, but no folder for training"),
    "no training": (("Testing/a", "Testing/b", "val/a", "val/b"), "holds Testing, val, but no folder for training"),
    "two for a split": (("train/a", "train/b", "val/a", "val/b", "valid/a"), "2 folders for the val split .val, valid"),
    "two cases": (("train/a", "train/b", "Train/a"), "2 folders for the train split .Train, train"),
    "beside classes": (
        ("train/a", "train/b", "cat", "dog"),
        r"holds split folders \(train\) beside others with images \(cat, dog\)",
    ),
    "train and test full of images": (("train", "test"), "2 classes; it holds 0, and 4 images in none"),
    "sites": (("s1/cat", "s1/dog", "s2/cat", "s2/dog"), r"\(s1, s2\) all hold the same sub-folders \(cat, dog\)"),
    "a site without a class": (("s1/c", "s1/d", "s2/c", "s2/d", "s3/c"), "all hold the same sub-folders"),
    "splits in classes": (("a/train", "a/test", "b/train", "b/test"), "all hold the same sub-folders .test, train"),
    "sites in the training folder": (("train/s1/c", "train/s1/d", "train/s2/c", "train/s2/d"), "same sub-folders"),
    "a folder too many": (("photos/a", "photos/b"), r"at least 2 classes; it holds 1 \(photos\)"),
    "unlabelled test images": (("train/a", "train/b", "test"), "4 images in none: .* for --data.predict_root"),
}


@pytest.mark.parametrize("row", REFUSED)
def test_refused__what_is_no_layout(tmp_path, row):
    folders, message = REFUSED[row]
    with pytest.raises(ValueError, match=message):
        ImageFolder(root=str(write(tmp_path, *folders))).list_files()


def test_sub_folders__that_do_not_repeat_are_parts_of_a_class(tmp_path):
    # one name in common, as in Tiny ImageNet, and patients of which one has both diagnoses
    for folders in (("a/images", "b/images"), ("a/p1", "a/p2", "b/p2", "b/p3")):
        assert ImageFolder(root=str(write(tmp_path / folders[0][-1], *folders))).dataset.class_names == ["a", "b"]


def test_left_out__beside_split_folders(tmp_path):
    root = write(tmp_path, "train/a", "train/b", ".git/a", "__MACOSX/train")
    (root / "annotations").mkdir()
    (root / "loose.png").write_bytes(b"")
    left_out = Counter()
    assert list(find_splits(root, left_out)) == ["train"]
    assert left_out == {
        ".git/": 1,
        "__MACOSX/": 1,
        "folders without class folders": 1,
        "images outside of class folders": 1,
    }


def test_left_out__beside_class_folders_is_counted_once(tmp_path):
    root = write(tmp_path, "a", "b", "@eaDir", "lost+found", "$RECYCLE.BIN", "a/@eaDir")
    (root / "loose.png").write_bytes(b"")
    (root / "itself").symlink_to(root / "itself")
    assert ImageFolder(root=str(root)).list_files().left_out == {
        "$RECYCLE.BIN/": 1,
        "@eaDir/": 2,
        "lost+found/": 1,
        "images outside of class folders": 1,
        "files without a suffix": 1,
    }
