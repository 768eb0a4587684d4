import pytest

from records.folders import make_folder, take_back


def test_make_folder__tells_what_it_made(tmp_path):
    assert make_folder(tmp_path / "a/b") == [tmp_path / "a", tmp_path / "a/b"]
    assert make_folder(tmp_path / "a/b") == []
    assert make_folder(tmp_path / "a/c", exist_ok=False) == [tmp_path / "a/c"]
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "a/c", exist_ok=False)
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/a"):
        with pytest.raises(OSError, match="file"):
            make_folder(path)


def test_take_back__what_was_made_and_holds_nothing_of_use(tmp_path):
    made = make_folder(tmp_path / "a/b/c")
    (tmp_path / "a/b/c/lock").touch()
    take_back(made, lambda path: False)
    assert (tmp_path / "a/b/c/lock").is_file()
    (tmp_path / "a/other").touch()
    take_back(made, lambda path: path.name == "lock")
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "a", tmp_path / "a/other"]
    # once more, and what was made by nobody
    take_back(made, lambda path: True)
    take_back([], lambda path: True)
    assert (tmp_path / "a/other").is_file()
