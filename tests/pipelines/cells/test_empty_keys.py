import json

import pytest

from pipelines.main import main


@pytest.mark.parametrize(
    ("command", "plan", "message"),
    [
        ("sweep", {"axs": {}}, "unknown option axs; did you mean axes?"),
        ("stack", {"membrs": {}}, "unknown option membrs; did you mean members?"),
        ("distill", {"fragmens": {"a": {"b": {}}}}, "unknown option fragmens; did you mean fragments?"),
        ("distill", {"nothing": {}}, "unknown option nothing (known: "),
        ("stack", {"members": [{"name": "a"}, {"optinos": {}}]}, "members.optinos; did you mean options?"),
        ("sweep", {"executor": {"jbs": {}}}, "unknown option executor.jbs; did you mean jobs?"),
        (
            "sweep",
            {"executor": {"class_path": "LocalExecutor", "init_args": {"jbs": {}}}},
            "unknown option executor.jbs; did you mean jobs?",
        ),
        (
            "stack",
            {"heads": [{"class_path": "LogisticHead", "init_args": {"penalti": {}}}]},
            "unknown option heads.penalti",
        ),
        ("fit", {"trainr": {}}, "unknown option trainr; did you mean trainer?"),
        ("fit", {"trainer": {"max_epoch": {}}}, "unknown option trainer.max_epoch; did you mean trainer.max_epochs?"),
    ],
)
def test_main__an_unknown_key_without_content_is_refused(command, plan, message, tmp_path, capsys):
    path = tmp_path / "plan.yaml"
    # one that were taken would not run for long
    quick = {"trainer": {"fast_dev_run": True}} if "trainer" not in plan else {}
    path.write_text(json.dumps({**plan, **(quick if command == "fit" else {})}))
    assert main([command, "--config", str(path)]) == 2
    told = capsys.readouterr().err
    assert f"{path}, unknown option" in told
    assert message in told


def test_main__what_may_be_empty_is_taken(tmp_path, capsys):
    path = tmp_path / "plan.yaml"
    plan = {"axes": {}, "options": {}, "executor": {"class_path": "LocalExecutor", "init_args": {}}, "dry_run": True}
    path.write_text(json.dumps({**plan, "root": str(tmp_path)}))
    assert main(["sweep", "--config", str(path)]) == 0
    assert "1 planned" in capsys.readouterr().out
