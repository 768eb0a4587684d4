import pytest

from pipelines.sweep.command import parse
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.search.options import SearchOptions
from pipelines.sweep.search.spaces import Space

LR = {"low": 1e-4, "high": 0.1, "log": True}
EPOCHS = {"low": 50, "high": 200, "step": 10}


def plan(**search):
    spaces = search.pop("spaces", {"model.optimizer.lr": LR})
    return SweepPlan(search=SearchOptions(spaces, **search))


def test_space__of_whole_numbers():
    space = Space.of("trainer.max_epochs", EPOCHS)
    assert (space.whole, space.count, space.ends()) == (True, 16, [50, 200])
    assert space.grid()[:3] == [50, 60, 70]
    assert space.value(60).options == {"trainer.max_epochs": 60}


def test_space__of_numbers():
    space = Space.of("model.optimizer.lr", LR)
    assert (space.whole, space.count) == (False, None)
    assert space.value(0.00123456).label == "0.001235"
    # the run gets all digits
    assert space.value(0.00123456).options == {"model.optimizer.lr": 0.00123456}
    assert Space.of("model.dropout", {"low": 0.0, "high": 0.3, "step": 0.1}).grid() == [0.0, 0.1, 0.2, 0.3]


def test_space__of_choices():
    assert Space.of("data.sampler", ["sqrt", None]).grid() == ["sqrt", "null"]
    named = Space.of("model", {"choices": {"a": "a.yaml", "b": {"options": {"model.width": 9}}}})
    assert named.value("a").fragments == ("a.yaml",)
    assert named.value("b").options == {"model.width": 9}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lo": 1, "high": 2}, "it has no 'lo'; did you mean low?"),
        ({"low": 1}, "high takes a number, not None"),
        ({"low": 1, "high": "1e3"}, "high takes a number, not '1e3'"),
        ({"low": 1, "high": float("inf")}, "high takes a number, not inf"),
        ({"low": 2, "high": 1}, "low 2 must be below high 1"),
        ({"low": 0, "high": 1, "log": True}, "log true needs low above 0"),
        ({"low": 1, "high": 9, "log": True, "step": 2}, "log and step cannot be given together"),
        ({"low": 1, "high": 10, "step": 4}, "high 10 is no whole number of steps from low: 9 is"),
        ({"low": 1, "high": 9, "step": -1}, "step must be above 0"),
        ({"low": 1, "high": 9, "log": "yes"}, "log takes true or false"),
        ({"choices": [1], "low": 1}, "choices and low cannot be given together"),
        ({"choices": []}, "search.spaces: x has no value"),
        ([1, 1], "search.spaces: x has the value 1 twice"),
        (3, "search.spaces: x takes {low"),
    ],
)
def test_space__names_what_is_wrong(given, message):
    with pytest.raises(ValueError, match=r".") as raised:
        Space.of("x", given)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"spaces": {}}, "search needs spaces"),
        ({"trials": 0}, "--search.trials must be at least 1"),
        ({"max_parameters": 0}, "--search.max_parameters must be at least 1"),
        ({"metric": "acuracy"}, "--search.metric must be a validation metric, not 'val/acuracy'"),
        ({"sampler": "grid"}, "model.optimizer.lr needs a step, or choices, for a grid"),
        ({"spaces": {"run.name": ["a"]}}, "search.spaces: run.name: run.name is set by the plan"),
        (
            {"spaces": {"x": {"choices": {"a": {"options": {"model.width": 1}}}}, "model.width": [2]}},
            "search.spaces: x and model.width both set model.width",
        ),
    ],
)
def test_plan__names_what_is_wrong(search, message):
    with pytest.raises(ValueError, match=r".") as raised:
        plan(**search)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"axes": {"model.width": [1]}}, "axes and search cannot be given together"),
        (
            {"axes": {"lr": {"a": {"options": {"model.optimizer.lr": 1}}}}},
            "axes: lr and search.spaces: model.optimizer.lr both set model.optimizer.lr",
        ),
        ({"cross_validate": 3}, "a search must not choose by test splits"),
        ({"folds": 3, "options": {"data.fold": 1}}, "data.fold and folds cannot be given together"),
    ],
)
def test_plan__what_does_not_go_with_a_search(more, message):
    with pytest.raises(ValueError, match=r".") as raised:
        SweepPlan(search=plan().search, **more)
    assert message in str(raised.value)


def test_parse__spaces_of_the_command_line(tmp_path):
    path = tmp_path / "plan.yaml"
    path.write_text("search: {spaces: {model.dropout: [0.1], data.sampler: [sqrt]}, trials: 3}")
    words = ["--search.spaces.model.dropout", "{low: 0, high: 0.5}", "--search.spaces.model.width=[4, 8]"]
    search = parse(["--config", str(path), *words, "--search.trials", "2"]).search
    assert search.spaces == {"model.dropout": {"low": 0, "high": 0.5}, "data.sampler": ["sqrt"], "model.width": [4, 8]}
    assert search.trials == 2
    assert parse(["--search.spaces.model.width=[4, 8]"]).search.wanted == 20


def test_options__a_grid_has_an_end():
    search = plan(spaces={"a": [1, 2], "b": ["x", "y", "z"]}, sampler="grid").search
    assert search.wanted == 6
    assert search.grid()[:2] == [{"a": "1", "b": "x"}, {"a": "1", "b": "y"}]
    assert plan(spaces={"a": [1, 2], "b": [3, 4]}, sampler="grid", trials=3).search.wanted == 3
    assert plan().search.wanted == 20
