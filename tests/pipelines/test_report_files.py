import numpy as np

from pipelines.report_files import read_metrics


def test_read_metrics__of_a_repeated_epoch_the_later_values_count(tmp_path):
    # stopped within epoch 3, and resumed from a state of epoch 1
    epochs = [0, 1, 2, 2, 1, 2, 3]
    lines = ["epoch,lr-AdamW,val/accuracy"]
    for number, epoch in enumerate(epochs):
        lines += [f"{epoch},,{number / 10}", f",{number / 100},"]
    (tmp_path / "metrics.csv").write_text("\n".join(lines))
    found = read_metrics(tmp_path / "metrics.csv")
    assert found["val/accuracy"] == ([0, 1, 2, 3], [0, 0.4, 0.5, 0.6])
    steps, rates = found["lr-AdamW"]
    assert np.isnan(steps).all()
    assert rates == [number / 100 for number in range(7)]
