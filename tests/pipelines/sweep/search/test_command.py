import json
import threading

import pytest
import yaml
from rich.console import Console

from pipelines.cells import process, queue
from pipelines.cells.fit_parser import FitParser
from pipelines.cells.job import CellFiles
from pipelines.main import main
from pipelines.sweep.command import parse
from pipelines.sweep.search.command import run_trials
from pipelines.sweep.search.head import Head
from pipelines.sweep.search.limits import Scales
from pipelines.sweep.search.study import SearchStudy
from records.run_dir import RunDir
from records.search_file import SearchFile

# takes the place of train.py: the accuracy is highest for a dropout of 0.3
SCRIPT = """
import json, pathlib, sys, time
given = dict(word[2:].split("=", 1) for word in sys.argv if word.startswith("--") and "=" in word)
if sys.argv[1] == "fit":
    folder = pathlib.Path(given["run.root"]) / given["run.experiment"] / given["run.name"]
else:
    folder = pathlib.Path(sys.argv[sys.argv.index("--ckpt_path") + 1])
(folder / "checkpoints").mkdir(parents=True, exist_ok=True)
with (folder.parent.parent / "calls").open("a") as calls: calls.write(f"{sys.argv[1]} {folder.name}\\n")
accuracy = 0.9 - abs(float(given.get("model.dropout", 0.3)) - 0.3)
def log(epochs, value):
    rows = "".join(f"{epoch},{epoch},{value}\\n" for epoch in range(epochs))
    (folder / "metrics.csv").write_text("epoch,step,val/accuracy\\n" + rows)
log(4, accuracy)
BODY
(folder / "checkpoints/last.ckpt").write_text("state")
path = folder / "result.json"
content = json.loads(path.read_text()) if path.is_file() else {}
if sys.argv[1] == "fit":
    fit = {"epochs": 4, "seconds": 1.5, "best_epoch": 2}
    content |= {"fit": fit, "val": {"accuracy": accuracy}, "parameters": 100}
else:
    content["test"] = {"accuracy": 0.5}
path.write_text(json.dumps(content))
"""
SPACES = {"model.dropout": {"low": 0.0, "high": 0.6, "step": 0.1}}


@pytest.fixture(scope="module")
def parser():
    """A parser that parses each command line once."""
    found = FitParser()
    found.parse = cache_of(found.parse)
    return found


def cache_of(parse):
    known = {}

    def cached(args):
        if repr(args) not in known:
            known[repr(args)] = parse(args)
        return known[repr(args)].clone()

    return cached


@pytest.fixture
def search(tmp_path, monkeypatch, parser):
    """Runs a search whose cells run a script of the test's; returns the exit status."""
    monkeypatch.setattr(process, "POLL", 0.02)
    monkeypatch.setattr(queue, "REFRESH", 0.02)
    monkeypatch.setattr(process, "TRAIN", tmp_path / "train.py")
    monkeypatch.setattr("pipelines.sweep.search.command.FitParser", lambda: parser)
    monkeypatch.setattr("pipelines.main.make_page", lambda runs, out, *rest: out / "index.html")

    def run(*words, body="", **search):
        (tmp_path / "train.py").write_text(SCRIPT.replace("BODY", body))
        plan = {"experiment": "x", "root": str(tmp_path / "runs"), "retries": 0, **search.pop("plan", {})}
        cold = {"class_path": "LocalExecutor", "init_args": {"warm": False, "jobs": 2}}
        path = tmp_path / "plan.yaml"
        content = {"executor": cold, **plan, "search": {"spaces": SPACES, "trials": 4, "sampler": "random", **search}}
        path.write_text(json.dumps(content))
        return main(["sweep", "--config", str(path), *words])

    return run


def calls(tmp_path):
    path = tmp_path / "runs/calls"
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    path.unlink(missing_ok=True)
    return sorted(lines)


def found_in(tmp_path):
    return SearchFile.read(tmp_path / "runs/x")


def test_main__trains_trials_and_refits_the_best_one(search, tmp_path, capsys, parser):
    assert search(refit=True) == 0
    found = found_in(tmp_path)
    best = max(found.trials, key=lambda trial: (trial.value, -trial.number))
    assert found.best == best.number
    assert {trial.state for trial in found.trials} == {"complete"}
    assert (best.epochs, best.best_epoch, best.seconds, best.parameters) == (4, 3, 1.5, 100)
    assert found.refit == f"refit-{best.name}"
    # no trial is tested, and the refit is tested once
    ran = calls(tmp_path)
    assert [line for line in ran if line.startswith("test")] == [f"test {found.refit}"]
    assert sum(line.startswith("fit trial") for line in ran) == len(
        {trial.values["model.dropout"] for trial in found.trials}
    )
    settings = CellFiles(tmp_path / "runs/x", found.refit).read()["settings"]
    assert settings["data.val_fraction"] == 0
    assert settings["trainer.max_epochs"] == 3
    fragment = yaml.safe_load((tmp_path / "runs/x/best.yaml").read_text())
    assert fragment["model"]["init_args"]["dropout"] == pytest.approx(best.numbers["model.dropout"])
    # and it is a config of fit
    config = parser.parse(["--config", str(tmp_path / "runs/x/best.yaml")])
    assert config.model.init_args.dropout == pytest.approx(best.numbers["model.dropout"])
    told = capsys.readouterr().out
    assert "once more, on training and validation samples, for 3 epochs" in told
    # the same command has nothing left to do
    assert search(refit=True) == 0
    assert calls(tmp_path) == []
    # more trials go on with the same search
    assert search(refit=True, trials=5) == 0
    assert "fit trial0000" not in calls(tmp_path)
    assert len(found_in(tmp_path).trials) == 5


def test_main__a_grid_runs_each_combination_once(search, tmp_path):
    spaces = {"model.dropout": [0.1, 0.3], "data.batch_size": {"low": 16, "high": 32, "step": 16}}
    assert search(sampler="grid", trials=None, spaces=spaces, plan={"split": "val"}) == 0
    assert calls(tmp_path) == [f"fit trial000{number}" for number in range(4)]
    values = [tuple(trial.values.values()) for trial in found_in(tmp_path).trials]
    assert values == [("0.1", "16"), ("0.1", "32"), ("0.3", "16"), ("0.3", "32")]


def test_main__a_trial_that_does_worse_is_ended_early(search, tmp_path, capsys):
    # long enough for the other one, which ends at once
    body = "if accuracy < 0.85 and sys.argv[1] == 'fit': time.sleep(20)"
    spaces = {"model.dropout": [0.3, 0.9]}
    pruned = {"sampler": "grid", "trials": None, "pruner": "median", "warmup": 2, "startup": 1}
    assert search(spaces=spaces, body=body, **pruned) == 0
    good, bad = found_in(tmp_path).trials
    assert (good.state, bad.state, bad.epochs) == ("complete", "pruned", 4)
    assert bad.last == pytest.approx(0.3)
    assert "ended early after 4 epochs" in capsys.readouterr().out
    # nothing goes on with it
    assert CellFiles(tmp_path / "runs/x", bad.name).read()["status"] == "pruned"
    calls(tmp_path)
    assert search(spaces=spaces, **pruned) == 0
    assert calls(tmp_path) == []


def test_main__what_fails_is_named_and_tried_again(search, tmp_path, capsys):
    assert search(body="if folder.name == 'trial0001': print('it broke'); sys.exit(1)", refit=True) == 2
    told = capsys.readouterr().err
    assert "trial0001 failed; the end of" in told
    assert "it broke" in told
    found = found_in(tmp_path)
    assert [trial.state for trial in found.trials].count("failed") == 1
    assert found.refit is not None
    calls(tmp_path)
    assert search(refit=True) == 0
    assert "fit trial0001" in calls(tmp_path)
    assert [trial.state for trial in found_in(tmp_path).trials] == ["complete"] * 4


def test_main__a_stopped_process_loses_no_trial(search, tmp_path, capsys, monkeypatch):
    look = Head.__call__

    def interrupt(self, news):
        look(self, news)
        if any(trial.state.name == "COMPLETE" for trial in self.study.trials()):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Head, "__call__", interrupt)
        assert search() == 130
    assert "continue:  python train.py sweep --config" in capsys.readouterr().out
    before = calls(tmp_path)
    assert search() == 0
    after = calls(tmp_path)
    done = [trial for trial in found_in(tmp_path).trials if trial.state == "complete"]
    assert len(done) == 4
    # the one that was done is not run again
    assert sum(line in before for line in after) < len(before)
    assert [trial.number for trial in done] == [0, 1, 2, 3]


def test_run_trials__several_processes_share_them(search, tmp_path, parser):
    assert search("--dry_run", "true", trials=6) == 0
    plan, folder, ended = parse(["--config", str(tmp_path / "plan.yaml")]), tmp_path / "runs/x", []

    def head():
        # each thread has a study of its own, as a process has
        study = SearchStudy(folder, plan.search, maximize=True)
        study.begin({})
        ended.append(run_trials(plan, study, folder, "val/accuracy", Scales(parser, {}), Console(quiet=True)))

    threads = [threading.Thread(target=head) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ended == [[], []]
    ran = calls(tmp_path)
    assert len(ran) == len(set(ran))
    assert [trial.state for trial in found_in(tmp_path).trials] == ["complete"] * 6


def test_main__models_beyond_a_limit_are_not_trained(search, tmp_path, capsys, monkeypatch):
    weigh = Scales._time
    monkeypatch.setattr(Scales, "_time", lambda self, *args: {**weigh(self, *args), "max_ms_per_image": 0.5})
    spaces = {"model": ["Linear", "SmallCNN"]}
    kept = {"sampler": "grid", "trials": None, "spaces": spaces, "max_parameters": 10_000, "max_ms_per_image": 1.0}
    assert search(**kept) == 0
    small, large = found_in(tmp_path).trials
    assert (small.state, large.state) == ("complete", "over")
    assert small.ms == 0.5
    assert large.parameters > 10_000
    assert large.why.endswith("parameters, and max_parameters is 10,000")
    assert calls(tmp_path) == ["fit trial0000"]
    assert "trial0001: model SmallCNN: not trained" in capsys.readouterr().out
    # another limit would be another search
    assert search(**{**kept, "max_parameters": 20_000}) == 2
    assert "search.max_parameters was 10000, is 20000" in capsys.readouterr().err


def test_main__seeds_are_repeats_of_a_trial(search, tmp_path):
    assert search(trials=2, plan={"seeds": 2, "split": "val"}, refit=True) == 0
    found = found_in(tmp_path)
    assert found.repeats == ["seed"]
    ran = calls(tmp_path)
    assert "fit trial0000-seed1" in ran
    assert ran[0].startswith("fit refit-trial")
    assert not any(line.startswith("test") for line in ran)


def test_main__dry_run_starts_nothing(search, tmp_path, capsys):
    assert search("--dry_run", "true") == 0
    told = capsys.readouterr().out
    assert "model.dropout: 0 to 0.6 by 0.1" in told
    assert "4 trials by val/accuracy (random, no pruning); 2 at once" in told
    assert not (tmp_path / "runs").exists()
    assert search() == 0
    capsys.readouterr()
    assert search("--list_cells", "true") == 0
    assert capsys.readouterr().out.split("\n")[0] == "complete   trial0000"


def test_main__trained_with_other_settings_is_refused(search, tmp_path, capsys):
    assert search(trials=1) == 0
    calls(tmp_path)
    assert search(trials=1, plan={"options": {"data.batch_size": 16}}) == 2
    assert "data.batch_size was its default, is 16" in capsys.readouterr().err
    assert search(trials=1, spaces={**SPACES, "data.sampler": ["none", "sqrt"]}) == 2
    assert "search.spaces.data.sampler was its default, is" in capsys.readouterr().err
    assert calls(tmp_path) == []


@pytest.mark.parametrize(
    ("spaces", "plan", "message"),
    [
        (
            {"trainer.max_epoch": {"low": 1, "high": 3}},
            {},
            "unknown option '--trainer.max_epoch'; did you mean --trainer.max_epochs?",
        ),
        ({"model.optimizer.lrr": [1]}, {}, "unknown option --model.optimizer.lrr; did you mean lr?"),
        ({"data.val_fraction": {"low": 0.1, "high": 1.5}}, {}, "--data.val_fraction must be in [0, 1), not 1.5"),
        (SPACES, {"options": {"data.val_fraction": 0.0}}, "no sample is held out for it: set data.val_fraction"),
    ],
)
def test_main__wrong_spaces_are_told_before_anything_runs(search, tmp_path, capsys, spaces, plan, message):
    assert search(spaces=spaces, plan=plan) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_main__without_optuna(search, capsys, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    assert search() == 2
    assert "search needs the extra search: pip install 'francesinha[search]'" in capsys.readouterr().err


def test_main__another_command_waits_for_a_search(search, tmp_path, capsys):
    from pipelines.cells.folder import locked

    with locked(RunDir(tmp_path / "runs/x").folder, "swept"):
        assert search() == 2
    assert "is being swept by process" in capsys.readouterr().err
