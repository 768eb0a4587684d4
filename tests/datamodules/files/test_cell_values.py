import pytest

from datamodules.files.cell_values import fractions, is_missing, whole_numbers


@pytest.mark.parametrize(
    "text", ["", "nan", "NaN", "NAN", "None", "NONE", "NA", "N/A", "n/a", "null", "NULL", "NaT", "<NA>", "#N/A"]
)
def test_is_missing__as_programs_write_it(text):
    assert is_missing(text)


@pytest.mark.parametrize("text", ["0", "Na", "-", "unknown", "nano", "no", "False", "?"])
def test_is_missing__names(text):
    assert not is_missing(text)


def test_whole_numbers__floats_of_a_data_frame():
    assert whole_numbers({"0.0", "1.0", "12.000", "7"}) == {"0.0": "0", "1.0": "1", "12.000": "12", "7": "7"}
    assert whole_numbers({"0,0", "1,0"}) == {"0,0": "0", "1,0": "1"}
    assert whole_numbers({"-1.0", "-0.0"}) == {"-1.0": "-1", "-0.0": "0"}


@pytest.mark.parametrize(
    "texts", [{"1.0", "cat"}, {"1.0", "1.5"}, {"1e3", "2"}, {"12e4", "4e12345"}, {"1.0.0", "1.0"}, {"1,000", "2"}]
)
def test_whole_numbers__names_stay(texts):
    assert whole_numbers(texts) == {}


def test_whole_numbers__leading_zeros_are_part_of_a_name():
    assert whole_numbers({"01", "10"}) == {"01": "01", "10": "10"}


def test_fractions():
    assert fractions({"1.0", "0.5", "2,5"}) == ["0.5", "2,5"]
    assert fractions({"v1.5", "1.5"}) == []
