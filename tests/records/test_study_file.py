import pytest

from records.damaged import DamagedFileError
from records.study_file import NAME, StudyFile

STUDY = StudyFile("test", ["accuracy"], {"model": ["a", "b"], "seed": ["0"]}, ["seed"], {"a-seed0": ["a", "0"]})


def test_read__is_what_was_written(tmp_path):
    assert StudyFile.read(tmp_path) is None
    STUDY.write(tmp_path)
    assert StudyFile.read(tmp_path) == STUDY
    assert STUDY.labels("a-seed0") == {"model": "a", "seed": "0"}


def test_read__a_damaged_one_is_named(tmp_path):
    StudyFile("test", ["accuracy"], {"model": ["a"]}, [], {"a": ["a", "0"]}).write(tmp_path)
    with pytest.raises(DamagedFileError, match="more or fewer values"):
        StudyFile.read(tmp_path)
    (tmp_path / NAME).write_text((tmp_path / NAME).read_text().replace('"a"', '"b"'))
    with pytest.raises(DamagedFileError, match="its content has changed"):
        StudyFile.read(tmp_path)
