import math

import pytest

from datamodules.files.tables import read_table

pa = pytest.importorskip("pyarrow")


def table(tmp_path, **columns):
    from pyarrow import parquet

    path = tmp_path / "m.parquet"
    parquet.write_table(pa.table({"path": ["a.png", "b.png", "c.png"], **columns}), path)
    return read_table(path)


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (pa.array(["cat", None, "dog "]), ["cat", "", "dog"]),
        (pa.array(["cat", "dog", "cat"]).dictionary_encode(), ["cat", "dog", "cat"]),
        (pa.array(["cat", None, "dog"], pa.large_string()), ["cat", "", "dog"]),
        (pa.array([b"cat", b"k\xc3\xb6ter", None], pa.binary()), ["cat", "köter", ""]),
        (pa.array([b"cat", b"dog", b"eel"], pa.binary(3)), ["cat", "dog", "eel"]),
        (pa.array([0.0, math.nan, 1.0], from_pandas=False), ["0.0", "nan", "1.0"]),
        (pa.array([0, None, 12], pa.int8()), ["0", "", "12"]),
        (pa.array([True, False, None]), ["True", "False", ""]),
        (pa.nulls(3), ["", "", ""]),
    ],
)
def test_parquet__kinds_of_columns(tmp_path, label, expected):
    assert table(tmp_path, label=label)["label"] == expected


def test_parquet__names_of_columns(tmp_path, caplog):
    with caplog.at_level("INFO"):
        found = table(tmp_path, Label=["a", "b", "c"], age=[1, 2, 3], __index_level_0__=[0, 1, 2])
    assert list(found) == ["path", "label"]
    assert "columns left out: age, __index_level_0__" in caplog.text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"label": [["cat"], ["dog"], []]}, "column 'label' holds list<.*> in a row, not one text or number"),
        ({"label": [{"a": 1}] * 3}, "column 'label' holds struct<"),
        ({"label": [b"\xff", b"a", b"b"]}, "column 'label' cannot be read as parquet"),
        ({"class": ["a", "b", "c"]}, "no column 'label'; it has path, class"),
        ({"label": ["a", "b", "c"], "LABEL": ["a", "b", "c"]}, "column 'label' more than once"),
    ],
)
def test_parquet__what_is_wrong_is_named(tmp_path, columns, message):
    with pytest.raises(ValueError, match=message):
        table(tmp_path, **columns)


def test_parquet__damaged_anywhere_is_named(tmp_path):
    table(tmp_path, label=["cat", "dog", "eel"])
    content = (tmp_path / "m.parquet").read_bytes()
    for cut in (0, 3, len(content) // 2, len(content) - 2):
        (tmp_path / "cut.parquet").write_bytes(content[:cut])
        with pytest.raises(ValueError, match="cut.parquet.* cannot be read as parquet"):
            read_table(tmp_path / "cut.parquet")
