import numpy as np
import pytest

from datamodules import Npz
from tests.helpers.data import blobs


def arrays(**changes):
    parts = {}
    for seed, split in enumerate(("train", "val", "test")):
        parts[f"x_{split}"], parts[f"y_{split}"] = blobs(12, 8, 3, seed=seed)
    parts.update(changes)
    return {name: value for name, value in parts.items() if value is not None}


def npz(tmp_path, **changes):
    np.savez(tmp_path / "data.npz", **arrays(**changes))
    return Npz(path=str(tmp_path / "data.npz"))


def test_npz__splits_as_given(tmp_path):
    data = npz(tmp_path)
    assert {name: len(samples) for name, samples in data.splits.items()} == {
        "train": 12,
        "val": 12,
        "stack": 0,
        "test": 12,
    }
    assert data.info.class_names == ["0", "1", "2"]


def test_npz__without_validation_it_is_drawn(tmp_path):
    data = npz(tmp_path, x_val=None, y_val=None)
    assert [len(data.splits[name]) for name in ("train", "val")] == [9, 3]


def scaled(top=1.0):
    return {f"x_{s}": (arrays()[f"x_{s}"] / 255 * top).astype(np.float32) for s in ("train", "val", "test")}


def test_npz__both_ranges_give_the_same_pixels(tmp_path):
    whole = npz(tmp_path).splits["train"].source.tensor
    unit = npz(tmp_path, **scaled()).splits["train"].source.tensor
    floats = {name: (array * 255).astype(np.float64) for name, array in scaled().items()}
    assert np.array_equal(whole, unit)
    assert np.array_equal(whole, npz(tmp_path, **floats).splits["train"].source.tensor)


def test_npz__a_pixel_just_above_one_does_not_turn_images_black(tmp_path):
    images = scaled()
    images["x_train"][0, 0, 0, 0] = 1.00001
    assert npz(tmp_path, **images).splits["train"].source.tensor.max() == 255


def test_npz__splits_in_different_ranges_are_refused(tmp_path):
    with pytest.raises(ValueError, match="others in"):
        _ = npz(tmp_path, x_train=scaled()["x_train"]).splits


def test_npz__the_range_is_stated(tmp_path, caplog):
    with caplog.at_level("INFO"):
        _ = npz(tmp_path).splits
    assert "read as [0, 255]" in caplog.text


def test_npz__grey_without_a_channel_axis_and_column_labels(tmp_path):
    changes = {f"x_{s}": arrays()[f"x_{s}"][..., 0] for s in ("train", "val", "test")}
    data = npz(tmp_path, **changes, y_train=arrays()["y_train"][:, None])
    assert data.info.in_channels == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": np.zeros((12, 8))}, "one shape"),
        ({"x_train": np.zeros((12, 3, 8, 8))}, "one shape"),
        ({"x_train": np.full((12, 8, 8, 3), np.nan)}, "NaN"),
        ({"x_train": np.full((12, 8, 8, 3), -0.5)}, "reach from -0.5"),
        ({"x_test": np.full((12, 8, 8, 3), 300.0)}, "to 300"),
        ({f"x_{s}": np.full((12, 8, 8, 3), 1.5) for s in ("train", "val", "test")}, "to 1.5"),
        ({"x_test": np.zeros((12, 9, 8, 3), np.uint8)}, "one shape"),
        ({"x_train": np.full((12, 8, 8, 3), "a")}, "must hold numbers"),
        ({"y_train": np.zeros(11, int)}, "y_train must be 12 whole numbers"),
        ({"y_train": np.zeros(12)}, "y_train must be 12 whole numbers"),
        ({"y_train": np.full(12, -1)}, "y_train holds 12 negative labels, first -1 at 0"),
        (
            {"y_train": np.array([0, 1, 2] * 3 + [0, 1, 10**9])},
            r"reach to 1000000000, but 999999997 classes .*: 3, 4, .*\.\.\.",
        ),
        ({"y_test": np.array([0, 1, 4] * 4)}, "labels reach to 4, but 2 classes have no training image: 3, 4: number"),
        (
            {"y_train": np.array([2**64 - 1] * 12, dtype=np.uint64)},
            "holds 18446744073709551615 at 0: classes are numbered",
        ),
        ({"y_train": np.int64(3)}, "y_train must be 12 whole numbers"),
        ({"y_train": np.eye(12)}, "y_train must be 12 whole numbers.* y.argmax"),
        ({"y_train": np.full(12, np.nan)}, "y_train must be 12 whole numbers"),
        ({"y_train": np.array(["cat"] * 12)}, "y_train must be 12 whole numbers"),
        (
            {"x_train": np.uint8(3), "x_val": None, "y_val": None, "x_test": np.uint8(3)},
            "must be .N, H, W, C.*, not ..",
        ),
        (
            {"x_train": np.zeros((0, 8, 8, 3)), "x_val": np.zeros((0, 8, 8, 3)), "x_test": np.zeros((0, 8, 8, 3))},
            r"x_train of shape \(0, 8, 8, 3\) holds no image",
        ),
        ({"x_train": np.zeros((12, 8, 8, 3), complex)}, "must hold numbers, not complex"),
        ({"x_train": None, "y_test": None}, "no array 'x_train', 'y_test'; it has x_test, x_val, y_train, y_val"),
        ({"x_val": None}, "no array 'x_val'"),
        ({"x_train": None}, "no array 'x_train'"),
        ({"y_val": None}, "no array 'y_val'"),
        ({"x_train": np.array([{}] * 12, dtype=object)}, "without pickle"),
    ],
)
def test_npz__what_is_wrong_is_named(tmp_path, changes, message):
    data = npz(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        _ = data.splits


def test_npz__missing_or_broken_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="--data.path"):
        _ = Npz(path=str(tmp_path / "no.npz")).splits
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(ValueError, match=r"bad.npz cannot be read"):
        _ = Npz(path=str(tmp_path / "bad.npz")).splits


def test_npz__class_names_must_fit(tmp_path):
    np.savez(tmp_path / "data.npz", **arrays())
    with pytest.raises(ValueError, match="--data.class_names has 2 names"):
        _ = Npz(path=str(tmp_path / "data.npz"), class_names=["a", "b"]).splits


def test_npz__images_with_nan_are_counted(tmp_path):
    images = scaled()
    images["x_train"][[2, 7], 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN or infinite pixels in 2 images of 12: number 2, 7"):
        _ = npz(tmp_path, **images).splits


def test_npz__pixels_that_fill_little_of_the_range_are_told(tmp_path):
    masks = {f"x_{s}": (arrays()[f"x_{s}"] > 120).astype(np.uint8) for s in ("train", "val", "test")}
    with pytest.warns(UserWarning, match=r"pixels reach only to 1, and are read as \[0, 255\]"):
        _ = npz(tmp_path, **masks).dataset


def test_npz__other_arrays_are_left_out_by_name(tmp_path, caplog):
    with caplog.at_level("INFO"):
        _ = npz(tmp_path, notes=np.array([{}], dtype=object)).dataset
    assert "arrays left out: notes" in caplog.text


def test_npz__class_names_twice_or_alike(tmp_path):
    np.savez(tmp_path / "data.npz", **arrays())
    path = str(tmp_path / "data.npz")
    with pytest.raises(ValueError, match="--data.class_names lists 'a' more than once"):
        _ = Npz(path=path, class_names=["a", "b", "a"]).dataset
    with pytest.warns(UserWarning, match="names that look alike: 'a' .* and 'A'"):
        assert Npz(path=path, class_names=["a", "b", "A"]).dataset.class_names == ["a", "b", "A"]


@pytest.mark.parametrize("version", [1, 2])
def test_npz__the_same_images_in_another_order_are_split_alike(tmp_path, version):
    images, labels = blobs(120, 8, 3)
    order = np.random.default_rng(0).permutation(120)
    splits = []
    for name, rows in (("a", slice(None)), ("b", order)):
        np.savez(
            tmp_path / f"{name}.npz",
            **arrays(x_val=None, y_val=None) | {"x_train": images[rows], "y_train": labels[rows]},
        )
        options = {"val_fraction": 0.1, "stack_fraction": 0.2, "subsample": 0.5, "split_version": version}
        data = Npz(path=str(tmp_path / f"{name}.npz"), **options)
        splits.append({name: set(samples.pixels.tolist()) for name, samples in data.splits.items()})
    # earlier versions drew by the order of the rows
    assert (splits[0] == splits[1]) == (version == 2)
