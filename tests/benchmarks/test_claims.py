import json
import shlex

import pytest

from benchmarks.claims.__main__ import drawn, unheld
from benchmarks.claims.measured import Held, canonical, measured, not_held, numbers, sections
from benchmarks.claims.page import PAGE, page_now, render
from benchmarks.claims.record import REPOSITORY, Record, RecordError, checked, load_records
from benchmarks.claims.runs import run, stale, written

WHOLE = {
    "claim": "It takes {seconds} s",
    "command": "python it.py",
    "machine": "two cores",
    "commit": "0123456",
    "date": "2026-11-27",
    "figures": {"seconds": 2.5, "images": 12345, "accuracy": "0.9610"},
}


def found(text):
    return [number.number for section in sections(text) for number in measured(section)]


def test_results__are_what_the_records_give():
    assert PAGE.read_text("utf-8") == page_now(load_records()), "run: python -m benchmarks.claims --page"


def test_docs__have_no_measured_number_without_a_record():
    assert unheld() == []


def test_records__hold_a_line_for_each_benchmark():
    commands = " ".join(record.command for record in load_records().values())
    scripts = [f"benchmarks/{script.name}" for script in sorted((REPOSITORY / "benchmarks").glob("*.py"))]
    assert [script for script in scripts if script not in commands] == []


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("An accuracy of .953, or 0.9610.", [".953", "0.9610"]),
        ("It took 26 s, 5 minutes and 300 ms.", ["26", "5", "300"]),
        ("from 18 to 23 MB, 1 GiB and 12.5 GB/s", ["18", "23", "1", "12.5"]),
        ("91 % of them, a gain of -2 to +3 points", ["91", "2", "3"]),
        ("9,362 images/s, 233 images a second, 10x and 3 times as fast", ["9,362", "233", "10", "3"]),
        ("It took 26\ns, and 91\n% of 300\nimages a second\n# In 7 s", ["26", "91", "300", "7"]),
        ("an odd ` mark\n\nhides no 5 s, nor `0.1` after it", ["5"]),
        ("no more than 4e-5 apart", ["4e-5"]),
        ("1,267 pairs among 50,000 images", ["1,267"]),
        ("| a | 0.16 s |\n|---|---|\n| .9 | 816 MiB |", ["0.16", ".9", "816"]),
        ("```\npython train.py fit --lr 0.1 \\\n    --decay 0.5\nepoch 1: 0.5437, 9.0 s\n```", ["0.5437", "9.0"]),
    ],
)
def test_measured__finds(text, numbers):
    assert found(text) == numbers


@pytest.mark.parametrize(
    "text",
    [
        "`--data.val_fraction 0.1` and a rate of `0.001`",
        "Python 3.11 to 3.13, torch 2.12.1, SLURM 22.05, arXiv:1902.00423, 95 % intervals",
        "64-bit hashes of 32x32 pixels, 10 classes, 5 folds, batch 128, ResNet-18",
        "[text](page.html#0.5)",
        "<!-- took 5 s -->",
        "```yaml\nval_fraction: 0.1\n```",
        "```\n# within 5 s\nLR=0.1 python train.py fit --lr 0.1\n```",
    ],
)
def test_measured__leaves_what_is_set(text):
    assert found(text) == []


def test_not_held__names_line_section_and_number():
    page = "# Title\n\n## One\n\nIt took 5 s ([record](records/one.json)).\n\n## Two\n\nIt took\n5 s.\n"
    held = {"one": Held(frozenset([canonical("5.0")]), ())}
    assert not_held(page, held) == ["line 10, 'Two': no record that is linked there holds 5"]
    assert not_held(page.replace("# Title\n", "# Title\n[record](records/one.json)\n"), held) == []
    assert "6" in not_held(page.replace("5 s (", "6 s ("), held)[0]


def test_not_held__names_a_link_to_no_record_and_a_figure_in_words():
    assert not_held("[record](records/no.json)", {}) == ["'the top' links a record that does not exist: no"]
    assert not_held("It is twice as fast.", {}) == ["'the top': 'twice as fast' needs its figure"]


def test_drawn__is_what_a_picture_says(tmp_path):
    picture = tmp_path / "demo.svg"
    picture.write_text('<svg width="0.5"><style>p {a: 0.1}</style><text>It&#160;took&#160;2.5&#160;s</text></svg>')
    assert found(drawn(picture)) == ["2.5"]
    assert not_held(drawn(picture), {"demo": Held(frozenset([canonical("2.5")]), ())}) == []


def test_render__fills_figures_and_links_the_records_of_a_section():
    text = (
        "# Page\n\n{{machines}}\n\n## One\n\nIn {{it.seconds}} s, {{it.images}}.\n\n## Two\n\nNothing.\n\n{{claims}}\n"
    )
    page = render(text, {"it": checked("it", WHOLE)})
    assert "In 2.5 s, 12,345.\n\nRecords: [it](records/it.json) (machine A, 0123456, 27 November 2026).\n" in page
    assert "- **A**: `two cores`" in page
    assert "| [it](records/it.json) | It takes 2.5 s | `python it.py` | machine A, 0123456, 27 November 2026 |" in page
    assert not_held(page, {"it": checked("it", WHOLE).held()}) == []


def test_render__shows_a_whole_record_on_a_line():
    table = {"columns": ["", "s"], "rows": [["ours", 2.5]]}
    page = render("{{it}}", {"it": checked("it", WHOLE | {"table": table})})
    assert "It takes 2.5 s (`python it.py`).\n\n| | s |\n| --- | --- |\n| ours | 2.5 |\n\nRecords: [it]" in page
    page = render("{{it}}", {"it": checked("it", {"claim": "It", "command": "it", "not_run": "no GPU"})})
    assert "It (`it`): not run, no GPU.\n\nRecords: [it](records/it.json) (not run)." in page


def test_render__names_what_does_not_exist():
    with pytest.raises(RecordError, match=r"there is no other\.json"):
        render("{{other}}", {})
    with pytest.raises(RecordError, match=r"it\.json has no figure 'minutes' \(it has: seconds, images, accuracy\)"):
        render("{{it.minutes}}", {"it": checked("it", WHOLE)})
    with pytest.raises(RecordError, match=r"it\.json has no table"):
        render("{{it.table}}", {"it": checked("it", WHOLE)})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"machine": ""}, "lacks machine"),
        ({"commit": "", "date": ""}, "lacks commit, date"),
        ({"date": "yesterday"}, "is not YYYY-MM-DD"),
        ({"figures": {}}, "needs figures or a table, or else `not_run`"),
        ({"not_run": "no GPU"}, "needs figures or a table, or else `not_run`"),
        ({"speed": 3}, "unknown fields: speed"),
        ({"claim": "It takes {minutes} min"}, "no figure 'minutes'"),
        ({"figures": {"seconds": [1, 2]}}, "a figure is a number or a text"),
        ({"table": {"columns": ["a"], "rows": [["1", "2"]]}}, "needs 1 cells"),
    ],
)
def test_checked__refuses(change, message):
    with pytest.raises(RecordError, match=message):
        checked("it", WHOLE | change)


def test_held__are_figures_and_rows():
    record = Record(
        "", "", figures={"a": "0.53 to 0.75", "b": 1200}, table={"columns": ["n 7"], "rows": [["4", "3 s"]]}
    )
    assert record.held() == Held(frozenset(map(canonical, ("0.53", "0.75", "1200"))), (numbers("4, 3"),))


def test_not_held__takes_a_table_by_rows():
    held = {
        "it": checked(
            "it", WHOLE | {"table": {"columns": ["a", "b"], "rows": [["1.5", "2.5 s"], [".7", "3.5 s"]]}}
        ).held()
    }
    page = "[record](records/it.json)\n\n| a | b |\n|---|---|\n| 1.5 | 2.5 |\n| .7 | 3.5 |\n"
    assert not_held(page, held) == []
    assert len(not_held(page.replace("| 1.5 | 2.5 |", "| 1.5 | 3.5 |"), held)) == 2
    assert len(not_held(page.replace("| .7 | 3.5 |", "| 3.5 | .7 |"), held)) == 2


def new_record(folder, **fields):
    (folder / "new.json").write_text(json.dumps({"claim": "It takes {seconds} s", **fields}))


def test_run__writes_what_the_command_printed_and_where(tmp_path):
    table = {"columns": ["a"], "rows": [["1"]]}
    printed = json.dumps({"ours": 1.5, "all": {"peers": [3, 4]}, "table": table})
    code = f"print('some lines'); print({printed!r})"
    new_record(tmp_path, command=f"python -c {shlex.quote(code)}")
    content = written("new", tmp_path) | {"taken": {"seconds": "ours", "peer": "all.peers.1"}, "not_run": "later"}
    (tmp_path / "new.json").write_text(json.dumps(content))
    run("new", tmp_path)
    record = load_records(tmp_path)["new"]
    assert (record.figures, record.table, record.not_run) == ({"seconds": 1.5, "peer": 4}, table, "")
    assert record.headline() == "It takes 1.5 s"
    assert "torch" in record.machine
    assert record.date.startswith("20")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ('python -c "raise SystemExit(3)"', "ended with status 3"),
        ('python -c "print(5)"', "no JSON object of figures"),
        ('python -c "pass"', "no JSON object of figures"),
    ],
)
def test_run__refuses(tmp_path, command, message):
    new_record(tmp_path, command=command)
    before = (tmp_path / "new.json").read_text()
    with pytest.raises(RecordError, match=message):
        run("new", tmp_path)
    assert (tmp_path / "new.json").read_text() == before


def test_load_records__names_a_file_that_is_no_json(tmp_path):
    (tmp_path / "it.json").write_text("{")
    with pytest.raises(RecordError, match=r"it\.json is no JSON"):
        load_records(tmp_path)


def test_stale__tells_what_was_not_run():
    records = {"it": checked("it", {"claim": "It", "command": "it", "not_run": "no GPU"})}
    lines = stale(records)
    assert lines[0] == "it: not run, no GPU"
    assert "benchmarks/power.py: no record" in lines
