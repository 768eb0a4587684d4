import pytest

from pipelines.cells.folder import CellError
from pipelines.sweep.search.options import SearchOptions
from pipelines.sweep.search.study import JOURNAL, OVER, SearchStudy, name_of

SPACES = {"lr": {"low": 1e-4, "high": 0.1, "log": True}, "epochs": {"low": 2, "high": 8, "step": 2}}


def opened(folder, **options):
    search = SearchOptions(options.pop("spaces", SPACES), **{"trials": 3, **options})
    search.check()
    study = SearchStudy(folder, search, maximize=True)
    study.begin({"spaces": search.spaces})
    return study


def states(study):
    return [trial.state.name for trial in study.trials()]


@pytest.mark.parametrize("storage", ["journal", "sqlite"])
def test_take__as_many_as_wanted_and_each_once(tmp_path, storage):
    one, two = (opened(tmp_path, storage=storage) for _ in range(2))
    taken = [one.take(), two.take(), one.take()]
    assert [trial.number for trial in taken] == [0, 1, 2]
    assert len({trial.drawn["lr"] for trial in taken}) == 3
    assert all(1e-4 <= trial.drawn["lr"] <= 0.1 and trial.drawn["epochs"] in (2, 4, 6, 8) for trial in taken)
    assert (one.take(), two.take(), one.is_over()) == (None, None, False)
    for study, trial in zip((one, two, one), taken, strict=True):
        study.tell(trial, "COMPLETE", {}, trial.drawn["lr"])
    assert one.is_over()
    # more are asked for by the same study
    more = opened(tmp_path, storage=storage, trials=4)
    assert more.take().number == 3


def test_take__the_same_draws_whoever_draws_them(tmp_path):
    alone = opened(tmp_path / "a", sampler="random")
    one, two = (opened(tmp_path / "b", sampler="random") for _ in range(2))
    expected = [alone.take().drawn for _ in range(3)]
    assert [one.take().drawn, two.take().drawn, one.take().drawn] == expected


def test_take__what_a_process_has_left_is_taken_up_again(tmp_path):
    one, two = (opened(tmp_path) for _ in range(2))
    first = one.take()
    assert two.take().number == 1
    # as the end of its process does
    one.release(first)
    again = two.take()
    assert (again.number, again.again, again.drawn) == (0, True, first.drawn)
    assert two.take().number == 2


def test_take__a_killed_process_leaves_half_a_line(tmp_path):
    one = opened(tmp_path)
    one.take()
    path = tmp_path / "search" / JOURNAL
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(b'{"op_code": 5, "trial_')
    assert one.take().number == 1
    assert path.read_bytes().startswith(whole)
    assert states(opened(tmp_path)) == ["RUNNING", "RUNNING"]


def test_begin__a_grid_is_queued_once(tmp_path):
    grid = {"sampler": "grid", "trials": None}
    one, two = (opened(tmp_path, spaces={"a": [1, 2], "b": [3, 4]}, **grid) for _ in range(2))
    taken = [study.take() for study in (one, two, one, two)]
    assert [list(trial.drawn.values()) for trial in taken] == [["1", "3"], ["1", "4"], ["2", "3"], ["2", "4"]]
    assert (one.take(), two.take()) == (None, None)


def test_begin__what_failed_is_tried_again_by_its_own_cell(tmp_path):
    one = opened(tmp_path)
    first = one.take()
    one.tell(first, "FAIL", {"why": "it broke"})
    assert one.take().number == 1
    two = opened(tmp_path)
    again = two.take()
    assert (again.number, again.name, again.drawn) == (2, "trial0000", first.drawn)
    # it is one of the three that are wanted
    two.take()
    assert two.take() is None
    assert [name_of(trial) for trial in two.trials()] == ["trial0000", "trial0001", "trial0000", "trial0003"]


def test_begin__another_search_is_refused(tmp_path):
    opened(tmp_path)
    with pytest.raises(CellError, match=r"has other settings: spaces was .* is .*--fresh true"):
        opened(tmp_path, spaces={"lr": {"low": 1e-3, "high": 1.0}})


def test_report__median(tmp_path):
    study = opened(tmp_path, pruner="median", warmup=2, startup=1)
    good, bad = study.take(), study.take()
    assert not study.report(good, {1: 0.8, 2: 0.9, 3: 0.9})
    study.tell(good, "COMPLETE", {}, 0.9)
    assert not study.report(bad, {1: 0.1})
    assert study.report(bad, {1: 0.1, 2: 0.2})


def test_report__judges_anew_when_others_have_ended(tmp_path):
    study = opened(tmp_path, pruner="median", warmup=1, startup=1)
    bad, good = study.take(), study.take()
    assert not study.report(bad, {1: 0.1})
    study.report(good, {1: 0.8})
    study.tell(good, "COMPLETE", {}, 0.9)
    assert study.report(bad, {1: 0.1})


def test_report__hyperband(tmp_path):
    search = SearchOptions(SPACES, trials=12, pruner="hyperband", warmup=1)
    study = SearchStudy(tmp_path, search, maximize=True, epochs=9)
    pruned = 0
    for number in range(12):
        taken = study.take()
        ended = study.report(taken, dict.fromkeys(range(1, 10), 1 - number / 12))
        study.tell(taken, "PRUNED" if ended else "COMPLETE", {}, None if ended else 0.5)
        pruned += ended
    assert 0 < pruned < 12


def test_left__trials_beyond_a_limit_do_not_count(tmp_path):
    study = opened(tmp_path, trials=1, max_parameters=10)
    for _ in range(100):
        study.tell(study.take(), "PRUNED", {OVER: [1.0]})
    with pytest.raises(CellError, match="max_parameters 10 leave too little of the spaces"):
        study.take()


def test_importances__name_what_matters(tmp_path):
    study = opened(tmp_path, trials=12, sampler="random")
    assert study.importances() == {}
    for _ in range(12):
        taken = study.take()
        study.tell(taken, "COMPLETE", {}, float(taken.drawn["epochs"]))
    found = study.importances()
    assert next(iter(found)) == "epochs"
    assert found["epochs"] > 0.8
