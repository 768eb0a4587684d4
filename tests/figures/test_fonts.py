import warnings

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from figures import fonts
from figures.style import COLORS, shortened

# a sign that only fonts of Egyptian hieroglyphs have, and a letter that matplotlib's own font has
RARE, COMMON = "\U00013080", "é"


@pytest.fixture(autouse=True)
def not_told():
    fonts.tell_missing.cache_clear()
    yield
    fonts.tell_missing.cache_clear()


def test_missing__only_what_no_font_has():
    assert fonts.missing("cat") == ""
    assert fonts.missing(f"{COMMON}{RARE}{RARE}") == RARE


def test_shortened__tells_once_that_a_font_is_missing():
    with pytest.warns(UserWarning, match="boxes for characters that no installed font has: install a font") as told:
        [shortened(name) for name in (RARE, RARE * 2)]
    assert len(told) == 1


def test_missing__agrees_with_what_matplotlib_draws():
    for text in (COMMON, RARE):
        figure = Figure()
        figure.text(0, 0, text)
        with warnings.catch_warnings(record=True) as drawn:
            warnings.simplefilter("always")
            FigureCanvasAgg(figure).draw()
        assert bool(fonts.missing(text)) == any("missing from font" in str(warning.message) for warning in drawn)


def test_colors__ten_classes_have_ten():
    assert len(set(COLORS)) >= 10
