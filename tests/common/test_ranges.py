import math

import pytest

from common.ranges import OptionError, check_range, check_ranges, is_within


@pytest.mark.parametrize(
    ("interval", "inside", "outside"),
    [
        ("[0, 1)", (0, 0.5, 0.999), (-1e-9, 1, math.nan, math.inf)),
        ("(0, 1]", (1e-300, 1), (0, 1.1, math.nan)),
        ("[1, inf)", (1, 10**30), (0, math.inf, math.nan, -math.inf)),
        ("(-inf, inf)", (-1e300, 0, 1e300), (math.inf, -math.inf, math.nan)),
    ],
)
def test_is_within(interval, inside, outside):
    assert all(is_within(number, interval) for number in inside)
    assert not any(is_within(number, interval) for number in outside)


def test_check_range__names_the_option_and_what_it_takes():
    with pytest.raises(OptionError, match=r"^--a.b must be in \[0, 1\), not nan$") as caught:
        check_range("--a.b", math.nan, "[0, 1)")
    assert (caught.value.option, caught.value.reason) == ("--a.b", "must be in [0, 1), not nan")
    with pytest.raises(OptionError, match=r"^--a must be at least 1, not \[3, 0\]$"):
        check_range("--a", [3, 0], "[1, inf)")
    check_range("--a", None, "[1, inf)")
    check_range("--a", (), "[1, inf)")


def test_check_ranges__looks_at_each():
    class Options:
        one, two = 1, -1

    check_ranges("--a", Options(), {"one": "[0, inf)"})
    with pytest.raises(OptionError, match="--a.two must be at least 0, not -1"):
        check_ranges("--a", Options(), {"one": "[0, inf)", "two": "[0, inf)"})
