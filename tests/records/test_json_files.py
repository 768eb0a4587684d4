import json

import pytest

from records.damaged import DamagedFileError
from records.json_files import read_json, to_json

CONTENT = {
    "text": 'ä \ud800 " \n',
    "number": -1.5e-7,
    "whole": 10**20,
    "odd": [float("inf"), None, True],
    "inner": {"b": {"c": [1, 2]}, "a": {}},
}


def test_read__what_was_written(tmp_path):
    (tmp_path / "a.json").write_text(to_json(CONTENT))
    assert read_json(tmp_path / "a.json", "") == CONTENT
    # what Python writes otherwise than it was
    (tmp_path / "a.json").write_text(to_json({1: (2, 3), "x": float("nan")}))
    assert str(read_json(tmp_path / "a.json", "")) == "{'1': [2, 3], 'x': nan}"


def test_read__order_and_spaces_do_not_matter(tmp_path):
    content = json.loads(to_json(CONTENT))
    (tmp_path / "a.json").write_text(json.dumps(dict(reversed(content.items()))))
    assert read_json(tmp_path / "a.json", "") == CONTENT


def test_read__files_of_earlier_versions_have_no_digest(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(CONTENT))
    assert read_json(tmp_path / "a.json", "") == CONTENT


def test_read__an_edited_file_is_told(tmp_path):
    (tmp_path / "a.json").write_text(to_json(CONTENT).replace("[\n        1,", "[\n        3,"))
    with pytest.raises(
        DamagedFileError, match="a.json is damaged .its content has changed .*remove its entry 'digest'"
    ):
        read_json(tmp_path / "a.json", "")


def told(path):
    try:
        read_json(path, "make it anew")
    except DamagedFileError as error:
        return str(error)
    return "nothing"


def test_read__every_flipped_bit_and_cut_is_seen(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(to_json({"a": {"loss": 0.25, "n": 12}, "b": [1, 2], "c": "text"}))
    content = path.read_bytes()
    unseen = []
    for place in range(len(content)):
        flips = [content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :] for bit in range(8)]
        for changed in (*flips, content[:place]):
            path.write_bytes(changed)
            if not told(path).startswith(f"{path} is damaged ("):
                unseen.append((place, changed))
    # only a change of the last line's end is not seen
    assert [changed for _, changed in unseen if json.loads(changed) != json.loads(content)] == []
    assert len(unseen) == 1


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"[" * 100_000])
def test_read__what_is_no_object(content, tmp_path):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedFileError, match="a.json is damaged"):
        read_json(tmp_path / "a.json", "")


def test_read__no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "a.json", "")
