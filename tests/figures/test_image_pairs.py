import numpy as np
import pytest

from figures.image_pairs import image_pairs


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 9])
def test_image_pairs__every_image_is_drawn(count, channels, tmp_path):
    rng = np.random.default_rng(0)
    pairs = [tuple(rng.integers(0, 255, (2, 6, 6, channels), dtype=np.uint8)) for _ in range(count)]
    figure = image_pairs(pairs, [f"a$_$b {number}" for number in range(count)])
    drawn = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert len(drawn) == 2 * count
    assert {axes.get_title() for axes in figure.axes} - {""} == {f"a$_$b {number}" for number in range(count)}
    figure.savefig(tmp_path / "figure.png")
