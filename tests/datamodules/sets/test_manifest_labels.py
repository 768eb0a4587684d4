"""Labels, classes, groups, sources and splits of a manifest, as people write them."""

import unicodedata

import pytest
import torch

from datamodules import Manifest
from tests.helpers.manifests import WHOLE, listed, write


@pytest.mark.parametrize("missing", ["", "nan", "NaN", "None", "NA", "N/A", "null", "NaT", "<NA>"])
def test_labels__missing_ones_are_counted(image_folder, table, missing):
    values = [missing if number % 12 == 3 else "ab"[number % 2] for number in range(72)]
    message = (
        r"row 4: the label is missing \(.*train/.*|; 6 of 72 labels are missing: rows 4, 16, 28, 40, 52 and 1 more"
    )
    with pytest.raises(ValueError, match=message):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset


def test_labels__a_listed_class_is_not_missing(image_folder, table):
    values = ["none" if number % 2 else "scratch" for number in range(72)]
    with pytest.raises(ValueError, match="list 'none' in --data.class_names if it is a class"):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset
    data = listed(image_folder, table, "label", values, class_names=["none", "scratch"], **WHOLE).dataset
    assert data.train.labels.bincount().tolist() == [36, 36]


def test_labels__whole_numbers_that_became_floats(image_folder, table):
    values = [("0.0", "1.0", "10.0", "2")[number % 4] for number in range(72)]
    data = listed(image_folder, table, "label", values, **WHOLE).dataset
    assert data.class_names == ["0", "1", "2", "10"]
    assert data.train.labels.bincount().tolist() == [18] * 4
    named = listed(image_folder, table, "label", values, class_names=["10", "2", "1", "0"], **WHOLE).dataset
    assert named.train.labels.tolist() == [3, 2, 0, 1] * 18


def test_labels__numbers_that_are_not_whole(image_folder, table):
    values = [("0.0", "1.0", "1.5")[number % 3] for number in range(72)]
    with pytest.raises(ValueError, match=r"row 3: the label is not a whole number .*; 24 of 72 .* list all of them in"):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset
    data = listed(image_folder, table, "label", values, class_names=["0.0", "1.0", "1.5"], **WHOLE).dataset
    assert data.class_names == ["0.0", "1.0", "1.5"]


def test_labels__names_that_look_alike(image_folder, table):
    values = [("Healthy", "healthy", "ill", "ill\u00a0", "il\u200bl", "HEALTHY")[number % 6] for number in range(72)]
    message = (
        r"'HEALTHY' \(12 .* and 'Healthy' \(12 .* and 'healthy' .*, 'ill' \(24 images\) and 'il\\u200bl' \(12 images\)"
    )
    with pytest.warns(UserWarning, match=r"'ill\\xa0' \(12 rows\) for 'ill'"), pytest.raises(ValueError, match=message):
        _ = listed(image_folder, table, "label", values, **WHOLE).dataset
    with pytest.warns(UserWarning, match="classes with names that look alike"):
        data = listed(image_folder, table, "label", values, alike_names="allow", **WHOLE).dataset
    assert len(data.class_names) == 5


def test_labels__two_unicode_forms_are_one_class(image_folder, table):
    forms = [unicodedata.normalize(form, "chêne") for form in ("NFC", "NFD")]
    values = [(*forms, "pin")[number % 3] for number in range(72)]
    with pytest.warns(UserWarning, match="taken for one name"):
        data = listed(image_folder, table, "label", values, **WHOLE).dataset
    assert data.class_names == [forms[0], "pin"]
    assert data.train.labels.bincount().tolist() == [48, 24]
    with pytest.warns(UserWarning, match="taken for one name"):
        named = listed(image_folder, table, "label", values, class_names=["pin", forms[1]], **WHOLE).dataset
    assert named.class_names == ["pin", forms[0]]


def test_labels__unknown_ones_are_told_at_once(image_folder, table):
    values = [("cat", "Cat", "eel")[number % 3] for number in range(72)]
    message = (
        r"row 2: unknown label 'Cat' \(looks like 'cat'\) \(known: cat, dog\); 48 rows of 'Cat' \(24\), 'eel' \(24\)"
    )
    with pytest.raises(ValueError, match=message):
        _ = listed(image_folder, table, "label", values, class_names=["cat", "dog"]).dataset


def test_class_names__one_twice(image_folder, table):
    with pytest.raises(ValueError, match="--data.class_names lists 'cat' more than once"):
        _ = Manifest(path=write(image_folder / "m.csv", table), class_names=["cat", "dog", "cat "]).dataset


def test_classes__all_without_a_training_image_are_told(image_folder, table):
    rows = [
        row | {"label": f"c{number % 9}", "split": "train" if number % 9 < 2 else "test"}
        for number, row in enumerate(table)
    ]
    with pytest.raises(ValueError, match="7 classes have no image in the training split: 'c2', .* and 2 more"):
        _ = Manifest(path=write(image_folder / "m.csv", rows)).dataset


@pytest.mark.parametrize("missing", ["", "nan", "NA", "None"])
def test_groups__missing_ones_are_groups_of_their_own(image_folder, table, missing):
    values = [f"patient {number // 4}" if number < 24 else missing for number in range(72)]
    data = listed(image_folder, table, "group", values, **WHOLE)
    assert len(data.dataset.train.groups.unique()) == 6 + 48
    with pytest.warns(UserWarning, match="48 of 72 rows have no group: each is a group of its own"):
        data.setup("fit")


def test_groups__missing_ones_are_told_before_training_alone(image_folder, table, recwarn):
    data = listed(image_folder, table, "group", ["", *(f"patient {number}" for number in range(71))], **WHOLE)
    for stage in ("validate", "test", "predict"):
        data.setup(stage)
    assert not recwarn.list
    data.setup("fit")
    assert [str(each.message).partition(": ")[2] for each in recwarn.list] == [
        "1 of 72 rows has no group: each is a group of its own"
    ]


def test_groups__numbers_are_the_same_as_integers_and_as_floats(image_folder, table):
    found = []
    for form in ("{}", "{}.0"):
        values = [form.format(number // 4) if number < 40 else "" for number in range(72)]
        found.append(listed(image_folder, table, "group", values, **WHOLE).dataset.train.groups)
    assert torch.equal(*found)


def test_groups__names_that_look_alike_are_told(image_folder, table):
    values = [("Patient 1", "patient 1", "patient 2")[number % 3] for number in range(72)]
    with pytest.warns(UserWarning, match="1 group name in several spellings: 'Patient 1' and 'patient 1'"):
        data = listed(image_folder, table, "group", values, **WHOLE).dataset
    assert len(data.train.groups.unique()) == 3


def test_sources__missing_ones_are_one_of_that_name(image_folder, table):
    values = [("b", "a", "nan", "")[number % 4] for number in range(72)]
    with pytest.warns(UserWarning, match="36 of 72 rows have no source: they are reported as 'unknown'"):
        data = listed(image_folder, table, "source", values, **WHOLE).dataset
    assert data.source_names == ("a", "b", "unknown")
    assert data.train.sources.bincount().tolist() == [18, 18, 36]


def test_sources__names_that_look_alike(image_folder, table):
    values = [("Camera A", "camera a", "b")[number % 3] for number in range(72)]
    with pytest.raises(
        ValueError, match=r"sources with names that look alike: 'Camera A' \(24 images\) and 'camera a'"
    ):
        _ = listed(image_folder, table, "source", values, **WHOLE).dataset


def test_leave_out_source__spaces_and_form_do_not_matter(image_folder, table):
    values = [("caméra", "b")[number % 2] for number in range(72)]
    left = unicodedata.normalize("NFD", "caméra") + " "
    data = listed(image_folder, table, "source", values, leave_out_source=left, test_fraction=0.0)
    assert len(data.splits["val"]) == 36
    with pytest.raises(ValueError, match=r"no source 'Caméra' \(looks like 'caméra'\)"):
        _ = listed(image_folder, table, "source", values, leave_out_source="Caméra").splits


def test_splits__names_in_any_case_and_missing_ones(image_folder, table):
    values = [("Train", "TEST", "nan", "Validation")[number % 4] for number in range(72)]
    data = listed(image_folder, table, "split", values)
    with pytest.warns(UserWarning, match=r"row 3: there is no split .*18 of 72 have no split: .*: taken for training"):
        _ = data.dataset
    assert [len(data.splits[name]) for name in ("train", "val", "test")] == [36, 18, 18]


def test_splits__unknown_ones_are_told_at_once(image_folder, table):
    values = [("train", "tset", "dev")[number % 3] for number in range(72)]
    with pytest.raises(
        ValueError, match=r"row 2: unknown split 'tset' \(known: .*; 48 rows of 'tset' \(24\), 'dev' \(24\)"
    ):
        _ = listed(image_folder, table, "split", values).dataset


def test_faults__of_several_kinds_at_once(image_folder, table):
    rows = [
        row | {"label": "" if number == 1 else row["label"], "split": "x" if number == 2 else "train"}
        for number, row in enumerate(table)
    ]
    rows[5]["path"] = "../out.png"
    with pytest.raises(
        ValueError, match="row 6: path .* not inside .*; row 2: the label is missing.*; row 3: unknown split"
    ):
        _ = Manifest(path=write(image_folder / "m.csv", rows)).dataset
