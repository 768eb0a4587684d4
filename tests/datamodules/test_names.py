import unicodedata

import pytest

from datamodules.names import (
    classes_have,
    find_alike,
    likeness,
    matching,
    shown,
    tell_alike,
    unknown_names,
    without_margin,
)

NFC, NFD = (unicodedata.normalize(form, "chêne") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "other",
    [
        "Healthy",
        "HEALTHY",
        "healthy ",
        " healthy",
        "healthy\u00a0",
        "\ufeffhealthy",
        "heal\u200bthy",
        "healthy\u3000",
        "healthy\ufe0f",
        "h\u3164ealthy",
        "healthy\0",
        "\x07healthy",
    ],
)
def test_likeness__what_looks_like_a_name(other):
    assert likeness(other) == likeness("healthy")
    assert find_alike(["ill", "healthy", other]) == [["healthy", other]]


def test_likeness__forms_of_unicode_and_folded_case():
    assert likeness(NFD) == likeness(NFC) == likeness(NFC.upper()) != likeness("chene")
    assert likeness("ﬁn") == likeness("fin")
    assert likeness("STRASSE") == likeness("straße")
    assert likeness("big  cat") == likeness("big\u00a0cat") != likeness("bigcat")


def test_without_margin__keeps_what_is_within():
    assert without_margin("\u200b ill\u00a0\u200d\ufeff") == "ill"
    assert without_margin("il\u200bl") == "il\u200bl"
    assert without_margin(NFD) == NFC
    assert without_margin("\u200b") == without_margin("\0") == ""
    assert without_margin("big\ncat\n") == "big\ncat"


def test_shown__what_cannot_be_seen_is_written_out():
    assert [shown(name) for name in ("dog ", "ill\u00a0", "il\u200bl", NFC, NFD)] == [
        "'dog '",
        "'ill\\xa0'",
        "'il\\u200bl'",
        "'chêne'",
        "'che\\u0302ne'",
    ]


def test_tell_alike__all_pairs_with_counts():
    counts = {"Cat": 12, "cat": 3, "dog ": 1, "dog": 2, "eel": 9}
    with pytest.raises(ValueError, match=r"'Cat' \(12 images\) and 'cat' \(3 images\), 'dog ' \(1 .*: mend them"):
        tell_alike("m.csv", "classes", counts, "mend them", "error")
    with pytest.warns(UserWarning, match=r"m.csv: classes with names that look alike: .* different ones"):
        tell_alike("m.csv", "classes", counts, "mend them", "allow")


def test_tell_alike__names_that_differ(recwarn):
    tell_alike("m.csv", "classes", {"a": 1, "b": 1, "ab": 1}, "", "error")
    assert not recwarn.list


def test_matching__space_and_form_alone():
    assert matching(f"{NFD} ", ["pin", NFC]) == NFC
    assert matching("Pin", ["pin", NFC]) is None


def test_unknown_names__what_they_look_like():
    assert unknown_names(["Pin", "eel"], ["pin"]) == "'Pin' (looks like 'pin'), 'eel'"


def test_classes_have__the_first_few_of_many():
    names = [f"whale{number:02}" for number in range(30)]
    text = classes_have(names, "fewer than 2 images")
    assert text.startswith("30 classes have fewer than 2 images: 'whale00', 'whale01', ")
    assert text.endswith(" and 25 more")
