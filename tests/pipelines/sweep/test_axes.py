import pytest

from pipelines.sweep.axes import Axis, Condition

LR = Axis.of("model.optimizer.lr", [0.001, 0.1])
LOSS = Axis.of("loss", {"plain": None, "focal": {"options": {"model.loss": {"class_path": "Focal"}}}})


def test_of__an_option_with_values():
    assert LR.option
    assert [(value.label, value.options) for value in LR.values] == [
        ("0.001", {"model.optimizer.lr": 0.001}),
        ("0.1", {"model.optimizer.lr": 0.1}),
    ]


def test_of__named_values():
    models = Axis.of(
        "model", {"a": "a.yaml", "b": {"fragments": ["b.yaml"], "options": {"trainer": {"max_epochs": 3}}}}
    )
    assert not models.option
    assert [(value.label, value.fragments, value.options) for value in models.values] == [
        ("a", ("a.yaml",), {}),
        ("b", ("b.yaml",), {"trainer.max_epochs": 3}),
    ]
    assert LOSS.values[1].options == {"model.loss": {"class_path": "Focal"}}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "axes: x takes a list of values, or names with their fragments and options, not 3"),
        ([], "axes: x has no value"),
        ([1, 1], "axes: x has the value 1 twice"),
        ({"a": 3}, "axes: x: a takes fragments and options, not 3"),
        ({"a": {"option": {}}}, "axes: x: a takes fragments and options, not 'option'; did you mean options?"),
    ],
)
def test_of__names_what_is_wrong(given, message):
    with pytest.raises(ValueError, match="axes: x") as raised:
        Axis.of("x", given)
    assert str(raised.value).startswith(message)


def test_word__is_a_folders_name():
    words = [
        Axis.of("model.hidden", [[16, 32]]).word("[16, 32]"),
        Axis.of("model.pretrained", [True]).word("true"),
        Axis.of("x", {"a/b: c": None}).word("a/b: c"),
    ]
    assert words == ["hidden16_32", "pretrainedtrue", "a_b_c"]


def test_condition__means_cells_by_their_values():
    condition = Condition.of({"model.optimizer.lr": [0.1, 0.001], "loss": "focal"}, [LR, LOSS], "leave_out")
    assert condition.holds({"model.optimizer.lr": "0.1", "loss": "focal"})
    assert not condition.holds({"model.optimizer.lr": "0.1", "loss": "plain"})
    # as a command line gives it
    assert Condition.of({"model": {"optimizer": {"lr": ["0.001"]}}}, [LR], "only").holds(
        {"model.optimizer.lr": "0.001"}
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"los": "focal"}, "leave_out: there is no axis 'los'; did you mean loss?"),
        ({"loss": "focl"}, "leave_out: loss has no value focl; did you mean focal?"),
    ],
)
def test_condition__names_what_is_not_there(given, message):
    with pytest.raises(ValueError, match="leave_out") as raised:
        Condition.of(given, [LR, LOSS], "leave_out")
    assert str(raised.value).startswith(message)
