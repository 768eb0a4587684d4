import os
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from datamodules.files.found_files import describe_left_out, leaves_images_out, walk_images


def write(path, array):
    Image.fromarray(array).save(path)
    return path


def test_walk_images__a_link_that_leads_back_up_ends(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    write(tmp_path / "a/b/1.png", np.zeros((2, 2), dtype=np.uint8))
    (tmp_path / "a/b/up").symlink_to(tmp_path / "a")
    (tmp_path / "a/itself.png").symlink_to(tmp_path / "a/itself.png")
    assert sorted(p.name for p in walk_images(tmp_path / "a")) == ["1.png", "itself.png"]


def test_walk_images__linked_folders_are_followed(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "class").mkdir()
    write(tmp_path / "elsewhere/1.png", np.zeros((2, 2), dtype=np.uint8))
    (tmp_path / "class/linked").symlink_to(tmp_path / "elsewhere")
    assert [p.name for p in walk_images(tmp_path / "class")] == ["1.png"]


def test_walk_images__a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "a/closed").mkdir(parents=True)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="closed"):
        list(walk_images(tmp_path / "a"))


def test_walk_images__what_is_left_out_is_counted(tmp_path):
    write(tmp_path / "1.png", np.zeros((2, 2), dtype=np.uint8))
    names = ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.png", ".hidden.png", "a.HEIC", "b.txt", "c.txt", "d")
    for name in (*names, "e.001", "f.\x1b[31m"):
        (tmp_path / name).write_bytes(b"")
    for name in ("@eaDir", "__MACOSX", ".thumbnails", "lost+found", ".mine"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "2.png", np.zeros((2, 2), dtype=np.uint8))
    left_out = Counter()
    assert [path.name for path in walk_images(tmp_path, left_out)] == ["1.png"]
    assert left_out == {
        "Thumbs.db": 1,
        "desktop.ini": 1,
        ".DS_Store": 1,
        "hidden files": 2,
        ".heic": 1,
        ".txt": 2,
        "files without a suffix": 1,
        "@eaDir/": 1,
        "__MACOSX/": 1,
        ".thumbnails/": 1,
        "lost+found/": 1,
        "hidden folders": 1,
        "files of odd suffixes": 2,
    }


def test_describe_left_out__images_that_are_not_read_come_first():
    text = describe_left_out(3, {".txt": 5, "hidden files": 1, ".jxl": 1})
    assert text == "3 of 10 files are images; left out: 1 .jxl (convert them to PNG or JPEG), 5 .txt, 1 hidden file"
    assert describe_left_out(3, {}) == ""
    assert leaves_images_out({".heic": 1})
    assert not leaves_images_out({".txt": 1})
