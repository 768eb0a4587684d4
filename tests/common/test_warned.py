import warnings

import pytest

from common.warned import Notice, one_line, warn


def test_warn__is_one_plain_line():
    with pytest.warns(Notice, match="no group") as told:
        warn("m.csv: 1 of 3000 rows has no group")
    assert told[0].filename == __file__
    assert warnings.formatwarning is one_line
    # what Python prints of it
    assert warnings.formatwarning("m.csv: no group", Notice, "a.py", 3) == "warning: m.csv: no group\n"


def test_one_line__warnings_of_others_say_where_they_come_from():
    told = one_line("soon gone", DeprecationWarning, "/else/where.py", 3)
    assert "/else/where.py:3: " in told
    assert "soon gone" in told
