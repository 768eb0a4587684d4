import codecs

import pytest

from datamodules.files.tables import read_table

ROWS = [("cat/1.png", "cat"), ("dog/2.png", "Köter")]
EXPECTED = {"path": ["cat/1.png", "dog/2.png"], "label": ["cat", "Köter"]}


def table(tmp_path, content, suffix=".csv", encoding=None):
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    return read_table(path, encoding)


def lines(separator=",", end="\r\n", header=("path", "label")):
    return end.join(separator.join(row) for row in (header, *ROWS)) + end


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_csv__encodings_and_separators(tmp_path, encoding, separator):
    assert table(tmp_path, lines(separator).encode(encoding)) == EXPECTED


def test_csv__utf_16_of_the_other_order(tmp_path):
    assert table(tmp_path, codecs.BOM_UTF16_BE + lines().encode("utf-16-be")) == EXPECTED


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_csv__a_separator_line(tmp_path, end, first):
    assert table(tmp_path, f"{first}{end}{lines(';', end)}".encode()) == EXPECTED


def test_csv__a_separator_line_that_is_wrong(tmp_path):
    assert table(tmp_path, f"sep=;\n{lines(',')}".encode()) == EXPECTED


@pytest.mark.parametrize("suffix", [".tsv", ".TSV", ".CSV"])
def test_csv__suffixes(tmp_path, suffix):
    for separator in ("\t", ","):
        assert table(tmp_path, lines(separator).encode(), suffix) == EXPECTED


@pytest.mark.parametrize(
    "header", [("Path", "LABEL"), (" path ", "label "), ('"path"', '"Label"'), ("\u00a0path", "label\u200b")]
)
def test_csv__names_of_columns(tmp_path, header):
    assert table(tmp_path, lines(header=header).encode()) == EXPECTED


def test_csv__an_index_and_other_columns_are_left_out_by_name(tmp_path, caplog):
    with caplog.at_level("INFO"):
        found = table(tmp_path, b",path,age,label,note\n0,cat/1.png,3,cat,\n")
    assert found == {"path": ["cat/1.png"], "label": ["cat"]}
    assert "columns left out: age, note" in caplog.text


def test_csv__a_column_that_may_be_meant(tmp_path):
    with pytest.warns(UserWarning, match="column 'Groups' is left out: call it 'group'"):
        table(tmp_path, b"path,label,Groups\na.png,cat,1\n")


def test_csv__empty_rows_are_left_out_and_counted(tmp_path, caplog):
    content = "path,label,group\r\n\r\na.png,cat,1\r\n,,\r\nb.png,dog,2\r\n , ,\r\n,,\r\n\r\n"
    with caplog.at_level("INFO"):
        found = table(tmp_path, content.encode())
    assert found["path"] == ["a.png", "b.png"]
    assert "3 empty rows left out" in caplog.text


def test_csv__fields_that_a_spreadsheet_adds_or_leaves_out(tmp_path):
    found = table(tmp_path, b"path,label,split,group\na.png,cat,train,1,,\nb.png,dog\n")
    assert found == {"path": ["a.png", "b.png"], "label": ["cat", "dog"], "split": ["train", ""], "group": ["1", ""]}


def test_csv__quotes_around_separators_and_line_breaks(tmp_path):
    found = table(tmp_path, b'path,label\n"a, ""b""\nc.png","big\r\ncat"\n')
    assert found == {"path": ['a, "b"\nc.png'], "label": ["big\r\ncat"]}


def test_csv__all_rows_of_too_many_fields(tmp_path):
    content = b"path,label\na.png,cat,3\nb.png,cat\n" + b"c,d.png,cat\n" * 5
    with pytest.raises(
        ValueError, match=r"row 1: 3 fields, but 2 columns: a.png,cat,3, row 3: .* and 3 more: put .*quotes"
    ):
        table(tmp_path, content)


def test_csv__another_encoding_is_named_or_read(tmp_path):
    content = lines().encode("cp1252")
    message = r"m.csv, line 3: cannot be read as UTF-8 text: .*--data.encoding cp1252 .*'dog/2.png,Köter'"
    with pytest.raises(ValueError, match=message):
        table(tmp_path, content)
    assert table(tmp_path, content, encoding="cp1252") == EXPECTED
    assert table(tmp_path, lines().encode("utf-8-sig"), encoding="utf-8") == EXPECTED


@pytest.mark.parametrize("encoding", ["klingon", "base64", "rot13"])
def test_csv__no_encoding(tmp_path, encoding):
    with pytest.raises(ValueError, match=f"--data.encoding '{encoding}' is no encoding of text"):
        table(tmp_path, lines().encode(), encoding=encoding)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'path,label\n"a.png,cat\nb.png,dog\n',
            r"m.csv, line 3: cannot be read as columns \(unexpected end of data\)",
        ),
        (b'sep=,\npath,label\n"a"b.png,cat\n', r"m.csv, line 3: cannot be read as columns .*mend its quotes"),
        (codecs.BOM_UTF16_LE + b"p\0a\0t", "m.csv.*cannot be read as UTF-16 text"),
        (b"file;class\na.png;cat\n", "no column 'path'; it has file, class: name the columns path and label"),
        (b"path,label,Path\n", "column 'path' more than once"),
        (b"path,label,Group,group,split,split\n", "column 'split', 'group' more than once"),
        (b"", "no column 'path'; it has none"),
    ],
)
def test_csv__what_is_wrong_is_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        table(tmp_path, content)


def test_csv__spellings_of_one_name_are_told(tmp_path):
    content = "path,label\na,ill\nb,ill\u00a0\nc,ill\u00a0\nd,che\u0302ne\ne,chêne\nf,il\u200bl\n"
    with pytest.warns(
        UserWarning, match=r"one name: 'ill\\xa0' \(2 rows\) for 'ill', 'che\\u0302ne' \(1 row\) for 'chêne'"
    ):
        found = table(tmp_path, content.encode())
    assert found["label"] == ["ill", "ill", "ill", "chêne", "chêne", "il\u200bl"]
