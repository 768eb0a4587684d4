import io
import json

from rich.console import Console

from pipelines.cli import after_run
from pipelines.tune.table import compute_table
from pipelines.tune.timing import REFERENCE, Candidate, Measurement
from records.run_dir import RunDir

METRICS = {"accuracy": 0.9, "nll": 0.3, "ece": 0.02}


def result(folder, allowed=()):
    return {
        "experiment": "demo",
        "run": "stack",
        "evaluations": {"test": {"samples": 1234}},
        "parameters": 1_000_010,
        "leakage": {"allowed": list(allowed), "warnings": ["mlp was selected on 3 meta-training samples"]},
        "fit": {"seconds": 2.0},
        "test": {**METRICS, "accuracy": 0.95},
        "members": [
            {
                "name": "mlp",
                "checkpoint": str(folder / "mlp/checkpoints/best.ckpt"),
                "parameters": 1_000_000,
                **METRICS,
            },
            {"name": "mean of members", "checkpoint": None, "parameters": 1_000_000, **METRICS},
        ],
    }


def render(*printed):
    console = Console(width=120, record=True, file=io.StringIO())
    for item in printed:
        console.print(item)
    return console.export_text()


def member(folder, seconds):
    run = RunDir(folder / "mlp")
    run.checkpoints.mkdir(parents=True)
    run.result.write_text(json.dumps({"fit": {"seconds": seconds}}))


def test_stack_table__members_mean_and_stack(tmp_path):
    member(tmp_path, 10.0)
    text = render(after_run.stack_table(result(tmp_path)))
    assert "1,234 images" in text
    rows = [line.split() for line in text.splitlines()]
    assert any({"mlp", "0.9000", "1,000,000", "10.0"} <= set(row) for row in rows)
    # the stack costs its members too
    assert any({"stack", "0.9500", "1,000,010", "12.0"} <= set(row) for row in rows)


def test_stack_table__unknown_seconds_are_not_made_up(tmp_path):
    rows = [line.split() for line in render(after_run.stack_table(result(tmp_path))).splitlines()]
    assert any({"stack", "–"} <= set(row) for row in rows)


def test_stack_table__says_where_leakage_was_allowed(tmp_path):
    text = render(after_run.stack_table(result(tmp_path, allowed=["mlp was fitted on 9 of the meta-training samples"])))
    assert "LEAKAGE ALLOWED" in text
    assert "LEAKAGE" not in render(after_run.stack_table(result(tmp_path)))


def test_print_leakage(tmp_path, capsys):
    after_run.print_leakage(Console(width=120), result(tmp_path, allowed=["mlp [small] was fitted on 9"]))
    printed = capsys.readouterr().out
    assert "LEAKAGE ALLOWED: mlp [small] was fitted on 9" in printed
    assert "note: mlp was selected on 3" in printed


def test_compute_table__says_why_not():
    losses = [1.0] * 8
    measurements = [
        Measurement(REFERENCE, [100.0], losses),
        Measurement(Candidate(memory_format="channels_last"), [50.0], losses),
        Measurement(Candidate("bf16-mixed"), [300.0], [2.0] * 8),
        Measurement(Candidate("bf16-mixed", "channels_last"), [], [], "no [bold] such thing"),
        Measurement(Candidate(torch_compile=True), [150.0], losses),
    ]
    console = Console(width=160, record=True)
    console.print(compute_table(measurements))
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    expected = ["", "not faster", "does not keep the loss", "failed: no [bold] such thing", "chosen"]
    for line, verdict in zip(lines, expected, strict=True):
        assert verdict in line
    assert "1.50" in lines[-1]


def test_marks__unknown_images_and_changed_data_stand_in_titles_and_below(tmp_path):
    found = result(tmp_path) | {"unknown_images": ["x.pt"], "published_data": ["ImageNet (timm's resnet18)"]}
    found["leakage"] = {"allowed": [], "unknown": ["mlp was fitted on unknown images: x.pt"], "warnings": []}
    found["evaluations"]["test"] |= {"data_changed": ["2 labels differ"], "notes": ["labels are shifted"]}
    mark = after_run.leakage_mark(found)
    assert mark == " — FITTED ON UNKNOWN IMAGES: mlp — DATA CHANGED SINCE TRAINING"
    console = Console(width=120, record=True, file=io.StringIO())
    after_run.print_history(console, found)
    after_run.print_evaluation(console, found)
    text = " ".join(console.export_text().split())
    assert "UNKNOWN IMAGES: mlp was fitted on unknown images: x.pt" in text
    assert "note: derives from weights of ImageNet (timm's resnet18)" in text
    assert "DATA CHANGED: the data has changed since the model was trained on it: 2 labels differ" in text
    assert "note: labels are shifted" in text


def test_marks__a_single_model_says_it_too():
    found = {"unknown_images": ["x.pt"]}
    assert after_run.leakage_mark(found) == " — FITTED ON UNKNOWN IMAGES: x.pt"
    console = Console(width=120, record=True, file=io.StringIO())
    after_run.print_history(console, found)
    assert "UNKNOWN IMAGES: the model was fitted on unknown images: x.pt" in console.export_text()


def test_source_table__names_the_lowest_pair():
    values = {"samples": 10, "accuracy": 0.5, "balanced_accuracy": 0.5, "f1_macro": 0.5, "auroc": None}
    pairs = {"crack": {"north": {"north": 0.2, "south": 0.7}, "south": {"north": 0.6, "south": None}}}
    by_source = {"run": "x", "leakage": {"allowed": [], "warnings": []}, "test_by_source": {"north": values}}
    text = " ".join(render(after_run.source_table({**by_source, "test_source_pairs": pairs})).split())
    assert "lowest pair of sources: crack of south against other classes of north, AUROC 0.6000" in text
    assert "pair" not in render(after_run.source_table(by_source))


def test_print_fit__names_what_chose_the_epoch(tmp_path):
    run = RunDir(tmp_path / "demo/mlp")
    run.folder.mkdir(parents=True)
    fit = {"epochs": 1, "seconds": 2.0, "best_epoch": 0}
    for more, told in (
        (
            {"monitor": "val/nll"},
            "best epoch 0, by val/nll: val/nll 0.3000, val/accuracy 0.9000",
        ),
        # an earlier version's
        ({}, "best epoch 0, by val/accuracy: val/accuracy 0.9000"),
    ):
        run.result.write_text(json.dumps({"fit": fit | more, "val": METRICS}))
        console = Console(width=40, file=io.StringIO(), record=True)
        after_run.print_fit(console, run)
        assert f"{told} after 1 epoch and 2.0 s: {run.folder}/" in console.export_text()
