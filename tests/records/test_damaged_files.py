import numpy as np
import pytest

from records.damaged import DamagedFileError
from records.damaged_files import read_metrics


def test_read_metrics__of_a_repeated_epoch_the_later_values_count(tmp_path):
    # stopped within epoch 3, and resumed from a state of epoch 1
    epochs = [0, 1, 2, 2, 1, 2, 3]
    lines = ["epoch,lr-AdamW,step,val/accuracy"]
    for number, epoch in enumerate(epochs):
        lines += [f"{epoch},,{number},{number / 10}", f",{number / 100},{number},"]
    (tmp_path / "metrics.csv").write_text("\n".join([*lines, ""]))
    found = read_metrics(tmp_path / "metrics.csv")
    assert found["val/accuracy"] == ([0, 1, 2, 3], [0, 0.4, 0.5, 0.6])
    steps, rates = found["lr-AdamW"]
    assert np.isnan(steps).all()
    assert rates == [number / 100 for number in range(7)]


def test_read_metrics__half_a_last_row_is_left_out_and_other_damage_is_told(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,loss\n0,1,0.5\n1,2,0.2")
    assert read_metrics(path) == {"loss": ([0], [0.5])}
    for damage in (
        "epoch,step,loss\n0,1,0.5\n1\n2,3,0.1\n",
        "epoch,step,loss\n0,1,0.5,1\n",
        "epoch,step,loss\n0,1,0.x\n",
    ):
        path.write_text(damage)
        with pytest.raises(DamagedFileError, match="metrics.csv is damaged"):
            read_metrics(path)
