import io

import pytest
from rich.console import Console

from ensembling.judging.evaluation import stack_report
from ensembling.judging.predictions import Predictions
from ensembling.judging.rejection import Thresholds
from pipelines.stack import tables
from tests.ensembling.judging.test_evaluation import predictions

ALLOWED = {"allowed": ["m0 was fitted on 9 of the meta-training samples"], "warnings": ["m1 was selected on 3"]}


def report(**options):
    return stack_report(predictions(), predictions(seed=1), replicates=40, **options)


def full(**options):
    names = ["m0", "m1", "m2", "mean", "tuned_mean", "logistic"]
    return report(
        temperatures=dict.fromkeys(names, 1.7),
        parameters={"m0": 11_000_000, "m1": 5_000_000, "m2": 90_000_000},
        ms_per_image={"m0": 1.0, "m1": 0.25, "m2": 12.0},
        greedy_weights={"m0": 0.75, "m1": 0.25, "m2": 0.0},
        thresholds={"mean": Thresholds("global", [0.6])},
        **options,
    )


def render(*printed, width=100):
    console = Console(width=width, record=True, file=io.StringIO())
    for item in printed:
        console.print(item)
    return console.export_text()


def printed(result, width=100, every=True):
    console = Console(width=width, record=True, file=io.StringIO())
    tables.print_stack_report(console, result, "demo", every)
    return console.export_text()


def cells(text, name):
    """The lines of a table's row, split into cells."""
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if "│" in line]
    start = next(number for number, line in enumerate(lines) if line[0] == name)
    return lines[start], lines[start + 1]


def test_models_table__value_and_interval():
    result = full()
    values, intervals = cells(render(tables.models_table(result, "demo")), "m1")
    accuracy = result["models"][1]["metrics"]["accuracy"]
    assert values[1] == f"{accuracy['value']:.4f}"
    assert intervals[1] == f"{accuracy['low']:.3f}–{accuracy['high']:.3f}".replace("0.", ".")
    assert len(values) == 8


def test_calibration_table__before_and_after():
    result = full()
    values, _ = cells(render(tables.calibration_table(result, "demo")), "logistic")
    row = result["models"][5]
    nll = [f"{row[entry]['nll']['value']:.4f}" for entry in ("uncalibrated", "metrics")]
    assert values[1:4] == ["1.700", *nll]
    # the table of models shows what is delivered
    assert cells(render(tables.models_table(result, "demo")), "logistic")[0][5] == nll[1]
    values, _ = cells(render(tables.calibration_table(report(), "demo")), "logistic")
    assert (values[1], values[2]) == ("–", "–")


def test_differences_table__marks_what_leaves_out_zero():
    result = full()
    result["differences"][0]["accuracy"] = {"value": 0.0123, "low": 0.0012, "high": 0.0256}
    result["differences"][0]["nll"] = {"value": 0.0123, "low": -0.0012, "high": 0.0256}
    values, others = cells(render(tables.differences_table(result, "demo")), "mean")
    assert (values[1], others[1]) == ("* +0.0123", "+.0012 to +.0256")
    assert (values[2], others[2]) == ("+0.0123", "-.0012 to +.0256")
    assert others[0] == "- m0"


def test_members_table__worth_and_diversity():
    text = render(tables.members_table(full(), "demo"))
    values, _ = cells(text, "m0")
    assert values[3] == "75%"
    assert "all pairs" in text


def test_cost_table__cost_and_rejection():
    result = full()
    text = render(tables.cost_table(result, "demo"))
    values, _ = cells(text, "mean")
    assert values[1:3] == ["106,000,000", "13.250"]
    assert values[6] == f"{result['models'][3]['rejection']['coverage']:.1%}"
    assert "accepted" in text.splitlines()[2] + text.splitlines()[3]
    assert "right of" not in render(tables.cost_table(report(), "demo"))


def test_print_stack_report__fits_a_hundred_columns_without_breaking_numbers():
    text = printed(full())
    assert max(map(len, text.splitlines())) <= 100
    for name in ("tuned_mean", "recommended", "best member", "106,000,000"):
        assert name in text
    # what is broken leaves a cell of a digit or two
    assert not any(cell.strip() in set("0123456789") for line in text.splitlines() for cell in line.split("│")[2:-1])


def test_print_stack_report__says_what_to_use_and_what_to_bear_in_mind():
    result = full()
    text = " ".join(printed(result | {"notes": ["a note [sic]"]}, width=1000).split())
    assert result["recommendation"]["sentence"] in text
    assert "note: a note [sic]" in text


def test_print_stack_report__every_table_says_that_leakage_was_allowed():
    text = printed(full(leakage=ALLOWED))
    assert text.count("— LEAKAGE ALLOWED") == 5
    # not of samples that members were fitted on
    assert "held-out" not in text
    assert "held-out" in printed(full())
    assert "LEAKAGE ALLOWED: m0 was fitted on 9" in text
    assert "note: m1 was selected on 3" in text
    assert "LEAKAGE" not in printed(full())


def test_print_stack_report__every_table_says_that_members_were_selected_on_these_samples():
    text = printed(full(leakage={"allowed": [], "warnings": ALLOWED["warnings"]}))
    assert text.count("— overlaps: see the notes") == 5
    assert "note: m1 was selected on 3" in text
    assert "overlaps" not in printed(full())


def test_print_stack_report__without_temperatures_says_nothing_of_them():
    text = printed(report())
    assert "T is fitted" not in text
    assert "at T" not in text
    assert "at T" in printed(full())


@pytest.mark.parametrize("size", [1, 2])
def test_print_stack_report__undefined_values_are_dashes(size):
    whole = predictions(count=1, heads=False)
    one = Predictions(whole.labels[:size], {"[bold]": whole.members["m0"][:size]}, {})
    text = printed(stack_report(one, one, replicates=10))
    assert "[bold]" in text
    assert "–" in text
    assert "nan" not in text


def test_summary__one_table_that_never_cuts_a_number():
    result = full(notes=["one", "two", "three", "four"])
    for width in (80, 100):
        text = printed(result, width=width, every=False)
        assert max(map(len, text.splitlines())) <= width
        for row in result["models"]:
            values = row["metrics"]
            for number in (values["accuracy"]["value"], values["nll"]["value"], values["ece"]["value"]):
                assert f"{number:.4f}" in text
            assert f"{values['accuracy']['low']:.3f}–{values['accuracy']['high']:.3f}".replace("0.", ".") in text
        assert text.count("┏") == 1
        assert [line for line in text.splitlines() if line.startswith("note:")] == [
            "note: one (3 more notes on the page and in result.json)"
        ]
        assert "".join(result["recommendation"]["sentence"].split()) in "".join(text.split())


def test_summary__three_sentences_at_most():
    result = full(leakage={"allowed": [], "warnings": ["m1 was selected on 3"]}, notes=["one"])
    console = Console(width=1000, record=True, file=io.StringIO())
    tables.print_stack_report(console, result, "demo", beside=["Look 2.", "90 % sets."])
    *_, first, second, third = [line.strip() for line in console.export_text().splitlines() if line.strip()]
    assert first == result["recommendation"]["sentence"]
    assert second.startswith("note: m1 was selected on 3 (")
    assert third == "Look 2."
