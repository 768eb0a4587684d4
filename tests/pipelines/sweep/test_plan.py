import pytest

from pipelines.sweep.plan import Study, SweepPlan

MODELS = {"small": "small.yaml", "large": "large.yaml"}


def study(**options):
    return Study.of(SweepPlan(**options))


def names(**options):
    return [cell.name for cell in study(**options).cells]


def test_study__is_the_product_of_its_axes():
    found = study(
        axes={"model": MODELS, "model.dropout": [0, 0.5]},
        seeds=[3, 5],
        fragments=["data.yaml"],
        options={"trainer": {"max_epochs": 2}, "model.dropout": 0.9},
    )
    assert [cell.name for cell in found.cells][:3] == [
        "small-dropout0-seed3",
        "small-dropout0-seed5",
        "small-dropout0.5-seed3",
    ]
    assert len(found.cells) == 8
    last = found.cells[-1]
    assert (last.name, last.member) == ("large-dropout0.5-seed5", "large-dropout0.5")
    assert last.fragments == ("data.yaml", "large.yaml")
    # the axis wins over what all runs share
    assert last.options == {"trainer.max_epochs": 2, "model.dropout": 0.5, "seed_everything": 5}
    assert found.labels[last.name] == {"model": "large", "model.dropout": "0.5", "seed": "5"}


def test_study__a_further_value_changes_no_other_name():
    before = names(axes={"model": MODELS, "model.dropout": [0, 0.5]}, seeds=2)
    after = names(axes={"model": {"tiny": "t.yaml", **MODELS}, "model.dropout": [0.1, 0, 0.5]}, seeds=3)
    assert set(before) < set(after)


def test_study__axes_that_go_along_with_each_other():
    found = names(axes={"a": {"x": None, "y": None}, "b": {"p": None, "q": None}, "c": [1, 2]}, zip=[["a", "b"]])
    assert found == ["x-p-c1", "x-p-c2", "y-q-c1", "y-q-c2"]


def test_study__conditions_leave_cells_out():
    found = names(
        axes={"model": MODELS, "model.dropout": [0, 0.5]},
        seeds=2,
        leave_out=[{"model": "large", "model.dropout": 0.5}, {"seed": 1}],
    )
    assert found == ["small-dropout0-seed0", "small-dropout0.5-seed0", "large-dropout0-seed0"]
    with pytest.raises(ValueError, match="no cell is left"):
        names(axes={"model": MODELS}, leave_out=[{"model": ["small", "large"]}])


def test_study__some_are_run_now_and_all_are_planned():
    found = study(axes={"model": MODELS}, seeds=2, only={"model": ["large"]})
    assert len(found.cells) == 4
    assert [cell.name for cell in found.chosen] == ["large-seed0", "large-seed1"]


def test_study__folds_and_parts():
    folds, parts = study(folds=3), study(cross_validate=3)
    assert [cell.name for cell in folds.cells] == ["fold0", "fold1", "fold2"]
    assert folds.cells[1].options == {"data.num_folds": 3, "data.held_out": "val", "data.fold": 1}
    assert parts.cells[1].options == {"data.num_folds": 3, "data.held_out": "test", "data.fold": 1}
    assert (folds.plan.pooled, parts.plan.pooled, parts.plan.held_share) == (None, "fold", 0.5)
    sources = study(leave_one_out="source", sources=["clinic A", "b"])
    assert [cell.name for cell in sources.cells] == ["clinic_A", "b"]
    assert sources.cells[0].options == {"data.leave_out_source": "clinic A", "data.held_out": "test"}
    assert sources.plan.pooled == "source"


def test_study__nothing_differs():
    assert names() == ["run"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folds": 2, "cross_validate": 3}, "folds and cross_validate cannot be given together"),
        ({"cross_validate": 3, "split": "val"}, "cross_validate makes test splits"),
        ({"cross_validate": 1}, "--cross_validate must be at least 2"),
        ({"seeds": 0}, "--seeds must be at least 1"),
        ({"seeds": [-1]}, "--seeds must be from 0 to"),
        (
            {"seeds": 2, "options": {"seed_everything": 1}},
            "options: seed_everything and seeds cannot be given together",
        ),
        ({"folds": 2, "options": {"data": {"fold": 1}}}, "options: data.fold and folds cannot be given together"),
        ({"axes": {"run.name": ["a"]}}, "axes: run.name: run.name is set by the plan"),
        ({"axes": {"seed": {"a": None}}}, "axes: 'seed' is the name of an axis that seeds or folds give"),
        (
            {"axes": {"big": {"yes": {"options": {"model": {"width": 9}}}}, "model.width": [1, 2]}},
            "axes: big and model.width both set model.width",
        ),
        ({"axes": {"a": [1]}, "zip": [["a", "b"]]}, "zip: there is no axis 'b'"),
        ({"axes": {"a": [1], "b": [1, 2]}, "zip": [["a", "b"]]}, "need as many values each: a has 1, b has 2"),
        ({"axes": {"x": {"a b": None, "a:b": None}}}, "two cells are named a_b"),
        ({"axes": {"x": {"cells": None}}}, "cell 'cells': this cannot be its folder's name"),
        ({"time_limit": 0}, "--time_limit must be above 0"),
        ({"metrics": []}, "metrics must name at least one"),
        ({"only": {"modle": "a"}, "axes": {"model": MODELS}}, "only: there is no axis 'modle'; did you mean model?"),
    ],
)
def test_study__names_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=r".") as raised:
        study(**options)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    "options", [{"seeds": 10**12}, {"folds": 10**12}, {"seeds": 50_000, "axes": {"model.dropout": [0.1, 0.2, 0.3]}}]
)
def test_plan__a_slip_of_the_keyboard_is_refused_at_once(options):
    with pytest.raises(ValueError, match="an experiment has at most 100,000"):
        Study.of(SweepPlan(**options))
