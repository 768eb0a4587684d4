import csv
import io
import itertools
import random

import pytest

from records.csv_files import plain, read_rows, safe, write_rows, write_table

STARTS = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("before", ["", "  ", "a;", "x\n", "b\t", "'", "''"])
def test_safe__no_cell_begins_as_a_formula(start, before):
    name = f"{before}{start}cmd|' /C calc'!A0.png"
    for cell in safe(name).replace("\t", ";").replace("\n", ";").replace("\r", ";").split(";"):
        assert not cell.lstrip(" ").startswith(STARTS)
    assert plain(safe(name)) == name


@pytest.mark.parametrize("name", ["-0.5", "+3", "1e-05", "-1e+20", ".5", -0.5, 7, None, True])
def test_safe__numbers_stay(name):
    assert safe(name) == name


@pytest.mark.parametrize("name", ["a=b", "cat-1.png", "it's", "'quoted'", "a, -b", "ünïcode", ""])
def test_safe__names_without_a_formula_stay(name):
    assert safe(name) == name == plain(name)


def test_plain__undoes_safe_for_every_text():
    letters = ["=", "-", "'", "''", " ", ";", "\t", "\r", "\n", "a", "1", ",", '"', "@"]
    texts = ["".join(parts) for count in range(4) for parts in itertools.product(letters, repeat=count)]
    rng = random.Random(0)
    texts += ["".join(rng.choices(letters, k=12)) for _ in range(3000)]
    file = io.StringIO(newline="")
    write_rows(file, ([text, "x"] for text in texts))
    file.seek(0)
    assert [row[0] for row in read_rows(file)] == texts


def test_write_table__as_any_program_reads_it():
    file = io.StringIO(newline="")
    write_table(file, ["name", "loss", "note"], [{"name": "=a", "loss": -0.5}, {"name": "b", "note": "two, words"}])
    file.seek(0)
    assert list(csv.reader(file)) == [["name", "loss", "note"], ["'=a", "-0.5", ""], ["b", "", "two, words"]]
