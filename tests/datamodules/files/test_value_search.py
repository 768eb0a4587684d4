import numpy as np
import pytest
from PIL import Image

from datamodules.files.value_search import find_range
from tests.helpers.tiff import tiff


@pytest.fixture
def find(tmp_path):
    def write(*contents):
        for number, content in enumerate(contents):
            (tmp_path / f"{number}.tif").write_bytes(content)
        return find_range([tmp_path / f"{number}.tif" for number in range(len(contents))])

    return write


@pytest.mark.parametrize(
    ("most", "chosen"),
    [(200, (0, 255)), (1000, (0, 1023)), (4000, (0, 4095)), (16_000, (0, 16_383)), (40_000, None)],
)
def test_find_range__the_usual_depth_that_holds_all(find, most, chosen):
    found = find(tiff(np.array([[5, 9]], dtype="<u2")), tiff(np.array([[7, most]], dtype=">u2")))
    assert found.chosen == chosen
    assert (found.deep, found.least, found.most) == (2, 5, most)


def test_find_range__signed_values(find):
    assert find(tiff(np.array([[0, 4000]], dtype="<i2"))).chosen == (0, 4095)
    assert find(tiff(np.array([[-1, 4000]], dtype="<i2"))).chosen is None


def test_find_range__a_depth_that_the_file_states_is_believed(find):
    assert find(tiff(np.zeros((1, 3), dtype="u1"), bits=12)).chosen == (0, 4095)


def test_find_range__what_has_no_known_range(find):
    found = find(tiff(np.array([[0, 1]], dtype="<f4")))
    assert (found.chosen, found.known) == (None, False)


def test_find_range__files_of_8_bits_and_broken_ones_tell_nothing(find, tmp_path):
    Image.new("L", (2, 2)).save(tmp_path / "x.png")
    assert find(b"broken", tiff(np.zeros((2, 2), dtype="u1"))).deep == 0
