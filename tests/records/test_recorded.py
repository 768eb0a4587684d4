import pytest

from records.damaged import DamagedFileError
from records.recorded import check_recorded, sums_of


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_bytes(b"lr: 0.1\n")
    return path


def test_check__what_was_recorded(path):
    result = {"files": sums_of([path, path.with_name("gone.csv")])}
    assert list(result["files"]) == ["config.yaml"]
    check_recorded(path, result, "copy it again")


@pytest.mark.parametrize("result", [{}, {"files": None}, {"files": {"config.yaml": 4}}, {"files": {"other": "x"}}])
def test_check__nothing_recorded(path, result):
    check_recorded(path, result, "copy it again")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"lr: 0.3\n", "has changed since the run ended"), (b"lr:", "5 of its 8 bytes are missing"), (b"", "8 of its 8")],
)
def test_check__damage_is_told(path, content, message):
    result = {"files": sums_of([path])}
    path.write_bytes(content)
    for may_grow in (False, True):
        with pytest.raises(DamagedFileError, match=f"config.yaml is damaged .*{message}.*copy it again"):
            check_recorded(path, result, "copy it again", may_grow)


def test_check__rows_that_were_appended(path):
    result = {"files": sums_of([path])}
    path.write_bytes(b"lr: 0.1\nlr: 0.2\n")
    check_recorded(path, result, "", may_grow=True)
    with pytest.raises(DamagedFileError, match="has changed"):
        check_recorded(path, result, "")
