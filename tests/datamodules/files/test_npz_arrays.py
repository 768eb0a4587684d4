import io
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from datamodules.files import npz_arrays
from datamodules.files.npz_arrays import read_arrays


def header(shape, dtype="|u1"):
    file = io.BytesIO()
    npy.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
    return file.getvalue()


def archive(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("shape", [(10**6, 10**6), (2**62, 2**62), (3, 5)])
def test_header__more_than_is_there(tmp_path, shape):
    path = archive(tmp_path / "a.npz", x_train=header(shape) + bytes(12))
    with pytest.raises(
        ValueError, match=r"a.npz cannot .*x_train has shape .* by its header, \d+ bytes, but 12 are there"
    ):
        read_arrays(path, ["x_train"])


def test_header__python_objects(tmp_path):
    path = archive(tmp_path / "a.npz", x_train=header((1,), "|O") + bytes(8))
    with pytest.raises(ValueError, match="without pickle: x_train holds Python objects"):
        read_arrays(path, ["x_train"])


def test_memory__more_than_the_machine_has(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.npz", x_train=header((2**20,)) + bytes(2**20), other=header((9,), "|O"))
    monkeypatch.setattr(npz_arrays.os, "sysconf", lambda name: 1000)
    with pytest.raises(ValueError, match="a.npz .*its arrays need 0.0 GiB, and this machine has"):
        read_arrays(path, ["x_train"])
    assert read_arrays(path, ["none"]) == {}


def test_damage__each_flip_and_cut_is_named(tmp_path):
    path = tmp_path / "a.npz"
    rng = np.random.default_rng(0)
    whole = {"x_train": rng.integers(0, 255, (5, 4, 4, 3), dtype=np.uint8), "y_train": np.arange(5)}
    np.savez_compressed(path, **whole)
    content = path.read_bytes()
    silent = 0
    for place in rng.choice(len(content), 120, replace=False).tolist():
        damaged = bytearray(content)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_arrays(path, list(whole))
        except ValueError as error:
            assert str(error).startswith(str(path))  # noqa: PT017
        else:
            # fields such as the time of a member change nothing, a changed name is a missing array
            silent += any(not np.array_equal(array, whole[name]) for name, array in found.items())
    assert silent == 0
    for cut in rng.choice(len(content), 30, replace=False).tolist():
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError, match="a.npz cannot be read as npz"):
            read_arrays(path, list(whole))


def test_damage__of_a_header_is_told_in_plain_words(tmp_path):
    path = archive(tmp_path / "a.npz", x_train=header((5,)).replace(b"False", b"Famse") + bytes(5))
    with pytest.raises(
        ValueError, match="a.npz cannot be read as npz without pickle: the header of an array is damaged"
    ):
        read_arrays(path, ["x_train"])
