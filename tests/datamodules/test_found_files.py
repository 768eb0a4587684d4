import os

import numpy as np
import pytest
from PIL import Image

from datamodules.found_files import walk_images


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
