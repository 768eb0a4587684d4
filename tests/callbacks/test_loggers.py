import csv

from callbacks import ResumableCSVLogger


def rows(path):
    with (path / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_csv__a_resumed_run_goes_on_below(tmp_path):
    first = ResumableCSVLogger(str(tmp_path))
    first.log_metrics({"val/accuracy": 0.5}, step=1)
    first.save()
    second = ResumableCSVLogger(str(tmp_path))
    second.log_metrics({"val/accuracy": 0.6, "val/nll": 1.0}, step=2)
    second.save()
    assert [(row["step"], row["val/accuracy"], row["val/nll"]) for row in rows(tmp_path)] == [
        ("1", "0.5", ""),
        ("2", "0.6", "1.0"),
    ]
