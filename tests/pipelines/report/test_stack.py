import torch
from safetensors.torch import save_file

from pipelines.report.comparison import compare, evaluate
from pipelines.report.page import Picture, Table, Text
from pipelines.report.runs import find_runs
from pipelines.report.stack import member_names, stack_section
from pipelines.report.verdicts import of_comparison, of_stack
from tests.helpers.runs import logits_for, write_run

LABELS = torch.arange(40) % 4


def interval(value, width=0.01):
    return {"value": value, "low": value - width, "high": value + width}


def model(name, kind, accuracy, **facts):
    metrics = {
        "accuracy": interval(accuracy),
        "nll": interval(0.4),
        "auroc": {"value": None, "low": None, "high": None},
    }
    before = {"nll": interval(0.5), "ece": interval(0.02)}
    return {"name": name, "kind": kind, "metrics": metrics, "uncalibrated": before, "temperature": 1.25, **facts}


STACK = {
    "samples": 40,
    "models": [
        model("mlp", "member", 0.8, ms_per_image=0.1, pareto=True, parameters=1000),
        model("cnn", "member", 0.9, ms_per_image=2.0, pareto=True),
        model("logistic", "head", 0.95, ms_per_image=2.1, pareto=True),
    ],
    "differences": [{"model": "logistic", "to": "cnn", "accuracy": interval(0.05), "nll": None, "mcnemar_p": 0.01}],
    "worth": [{"member": "mlp", "accuracy": interval(0.01), "nll": interval(-0.1), "greedy_share": 0.25}],
    "diversity": {"pairs": [{"members": ["mlp", "cnn"], "disagreement": 0.2, "q_statistic": None}], "mean": {}},
    "recommendation": {"model": "logistic", "sentence": "It beats cnn beyond noise."},
    "leakage": {"allowed": [], "warnings": ["mlp was selected on 3 meta-training samples"]},
    "notes": ["a note"],
}


def section_of(folder, **facts):
    write_run(folder / "exp/stack", logits_for(LABELS, 4), LABELS, **facts)
    (run,), _ = find_runs([folder])
    section, pictures = stack_section(evaluate(run, "test"), "stack_1")
    texts = [block.text for block in section.all_blocks if isinstance(block, Text)]
    tables = {block.caption.split()[0]: block for block in section.all_blocks if isinstance(block, Table)}
    assert pictures == [block for block in section.all_blocks if isinstance(block, Picture)]
    return texts, tables, [picture.name for picture in pictures]


def shown(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_stack_section__all_that_the_report_holds(tmp_path):
    texts, tables, pictures = section_of(tmp_path, stack=STACK)
    assert "Recommended: logistic. It beats cnn beyond noise." in texts
    assert {"Note: a note", "Note: mlp was selected on 3 meta-training samples"} <= set(texts)
    models = shown(tables["members"])
    assert [row[0] for row in models] == ["mlp", "cnn", "logistic (recommended)"]
    assert models[2][2] == "0.9500"
    assert pictures == ["stack_1_accuracy", "stack_1_cost"]
    assert shown(tables["paired"])[0][:4] == ["logistic", "cnn", "0.0500", "–"]
    assert shown(tables["worth"]) == [["mlp", "0.0100", "-0.1000", "0.2500"]]
    assert shown(tables["diversity"]) == [["mlp and cnn", "0.2000", "–", "–", "–"]]


def test_stack_section__columns_of_calibration_only_where_there_was_one(tmp_path):
    names = {"temperature", "nll at temperature 1", "ece at temperature 1"}
    _, tables, _ = section_of(tmp_path, stack=STACK)
    assert names <= set(tables["temperature"].columns)
    assert shown(tables["temperature"])[0] == [
        "mlp", "1.250", "0.5000", "0.0200", "1,000", "0.100", "on the front"
    ]  # fmt: skip
    raw = [row | {"uncalibrated": None, "temperature": None} for row in STACK["models"]]
    _, tables, _ = section_of(tmp_path, stack=STACK | {"models": raw})
    assert "temperature" not in tables
    table = tables["cost"]
    assert not names & set(table.columns)
    assert len(table.columns) == len(table.numeric) == len(table.rows[0])


def test_stack_section__shows_what_is_delivered_also_of_an_earlier_version(tmp_path):
    earlier = {"name": "mlp", "metrics": {"nll": interval(0.5), "accuracy": interval(0.8)}, "temperature": 1.25}
    models = [earlier | {"calibrated": {"nll": interval(0.4)}}, earlier | {"name": "cnn"}, STACK["models"][2]]
    differences = [
        {"model": "mlp", "nll": interval(0.2), "nll_calibrated": interval(0.1)},
        {"model": "cnn", "nll": interval(0.1), "nll_uncalibrated": interval(0.2)},
    ]
    _, tables, _ = section_of(tmp_path, stack=STACK | {"models": models, "differences": differences})
    found = [
        [row[table.columns.index(name)] for row in shown(table)]
        for table, name in ((tables["members"], "nll"), (tables["temperature"], "nll at temperature 1"))
    ]
    assert [list(pair) for pair in zip(*found, strict=True)] == [
        ["0.4000", "0.5000"],
        ["0.5000", "–"],
        ["0.4000", "0.5000"],
    ]
    assert [row[3:5] for row in shown(tables["paired"])] == [["0.1000", "0.2000"]] * 2


def test_stack_section__leakage_is_said_of_all_heads(tmp_path):
    leak = {"allowed": ["mlp was fitted on 12 of the meta-training samples"], "warnings": []}
    texts, _, _ = section_of(tmp_path, stack=STACK | {"leakage": leak})
    assert texts[0].startswith("LEAKAGE ALLOWED: mlp was fitted on 12")


def test_stack_section__members_alone(tmp_path):
    members = [{"name": "mlp", "accuracy": 0.5, "nll": 1.0, "parameters": 7}, {"name": "mean of members"}]
    _, tables, pictures = section_of(tmp_path, members=members)
    rows = shown(tables["members"])
    assert [row[0] for row in rows] == ["mlp", "mean of members", "stack"]
    assert (rows[0][1], rows[0][-1], rows[1][1]) == ("0.5000", "7", "–")
    assert pictures == []


def test_stack_section__of_a_strange_file(tmp_path):
    texts, tables, pictures = section_of(
        tmp_path, stack={"models": [3, {"name": "mlp", "metrics": {"accuracy": "high"}}], "worth": "much", "notes": 5}
    )
    assert texts == pictures == []
    assert shown(tables["members"])[0][:4] == ["mlp", "–", "–", "–"]


def test_stack_section__decisions_of_the_members(tmp_path):
    write_run(tmp_path / "exp/stack", logits_for(LABELS, 4), LABELS, stack=STACK)
    (run,), _ = find_runs([tmp_path])
    ids = run.predictions("test").ids
    # written in another order than by id
    order = torch.arange(len(ids)).flip(0)
    tensors = {"test/id": ids[order].contiguous(), "test/logits": torch.randn(len(ids), 2, 4)}
    save_file(tensors, run.files.logits)
    _, pictures = stack_section(evaluate(run, "test"), "stack_1")
    assert {"stack_1_decisions", "stack_1_classes"} <= {picture.name for picture in pictures}
    # logits of other samples are not drawn
    save_file({**tensors, "test/id": ids + 1}, run.files.logits)
    _, pictures = stack_section(evaluate(run, "test"), "stack_1")
    assert "stack_1_decisions" not in {picture.name for picture in pictures}


def test_member_names__those_of_folds_too(tmp_path):
    write_run(tmp_path / "exp/stack", logits_for(LABELS, 4), LABELS, stack=STACK, member_runs={"mlp": ["mlp-fold0"]})
    (run,), _ = find_runs([tmp_path])
    assert member_names(evaluate(run, "test")) == {"mlp", "cnn", "mlp-fold0"}


def test_verdict__a_stack_that_has_kept_a_member_says_so(tmp_path):
    for name, strength, facts in (
        ("stack", 4.0, {"stack": STACK, "kept": "cnn"}),
        ("mlp", 1.0, {}),
        ("headed", 3.0, {"stack": STACK, "kept": "logistic"}),
    ):
        write_run(tmp_path / "exp" / name, logits_for(LABELS, 4, strength), LABELS, **facts)
    (group,) = compare(find_runs([tmp_path])[0], "test")
    told = of_comparison(group, "samples_1")
    assert told.winner == "stack (its member cnn)"
    assert told.text.startswith("This stack has kept its member cnn, and is nothing more than that.")
    stack = of_stack(group.runs[0], "stack_1")
    assert stack.title.startswith("exp/stack, a stack of 2 members, with 1 head: ")
    assert stack.text == "It beats cnn beyond noise. The plan has kept cnn in its place."
    group.runs.sort(key=lambda run: run.run.name)
    assert of_comparison(group, "samples_1").winner == "headed"
    assert of_stack(group.runs[0], "stack_2").text == "It beats cnn beyond noise."


def test_stack_section__the_threshold_of_a_positive_class(tmp_path):
    point = {"class": "a", "wanted": 0.9, "threshold": 0.25, "chosen_on": {"split": "meta", "samples": 60}}
    rate = {"samples": 10, "value": 0.8, "low": None, "high": None}
    facts = {"test_threshold": {**point, "sensitivity": rate, "specificity": rate}}
    texts, _, _ = section_of(tmp_path, stack=STACK, **facts)
    (said,) = (text for text in texts if text.startswith("Threshold: "))
    assert "90 % specificity for a, by probabilities above 0.25" in said
    texts, _, _ = section_of(tmp_path, stack=STACK, test_threshold=point)
    assert not [text for text in texts if text.startswith("Threshold: ")]
