"""Models of tables, from fit to report."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.linear_model import LinearRegression, LogisticRegression

import francesinha
from callbacks.drawing.table import FIGURES
from datamodules import TableData, TwoGroups
from lightning_modules.checkpoints import load_classifier
from pipelines.stack.plan_check import check_samples
from tests.helpers.cli import run
from tests.helpers.tables import houses, points, write_table

FAST = ("--model.optimizer", "torch.optim.Adam", "--model.optimizer.lr", "0.1", "--model.schedule", "null")


def drawing(*names):
    """Options that draw these figures alone."""
    others = [name for name in FIGURES if name not in names]
    return ("--figures.draw", "true", *(word for name in others for word in (f"--figures.{name}", "false")))


@pytest.fixture(scope="module")
def classified(tmp_path_factory):
    """A folder with a trained and tested classifier."""
    root = tmp_path_factory.mktemp("tables")
    write_table(root / "points.csv", points())
    data = ("--data", "TableData", "--data.path", root / "points.csv")
    args = ("--model", "TableClassifier", *data, *FAST, "--trainer.max_epochs", 20, "--run.experiment", "points")
    assert run("fit", *args, root=root) == 0
    assert run("test", "--ckpt_path", root / "points/table_classifier", *drawing("curves", "gallery")) == 0
    return root


def read(root, experiment, name):
    return json.loads((root / experiment / name / "result.json").read_text())


def test_fit_and_test__reach_what_a_logistic_regression_does(classified):
    found = read(classified, "points", "table_classifier")
    assert found["test"]["auroc"] > 0.85
    assert found["evaluations"]["test"]["fitted_on"] == 0
    figures = {path.name for path in (classified / "points/table_classifier/figures").iterdir()}
    assert "test_roc.png" in figures
    assert not any("misclassified" in name for name in figures)


def test_test__on_rows_with_an_unseen_category_says_so(classified, tmp_path, capsys):
    columns = points()
    columns["town"][0] = "Faial"
    path = write_table(tmp_path / "other.csv", columns | {"split": ["test"] * 100 + ["train"] * 100})
    given = ("--ckpt_path", classified / "points/table_classifier", "--data.path", path, "--run.root", tmp_path)
    assert run("test", *given) == 2
    assert "column 'town' holds what the training split did not: 'Faial' (1 row" in capsys.readouterr().err
    assert run("test", *given, "--model.unseen", "zero") == 0


def test_predict__rows_of_another_file(classified, tmp_path):
    columns = {name: values[:5] for name, values in points(seed=1).items() if name != "label"}
    # texts that look like numbers are read as the model's column is
    path = write_table(tmp_path / "new.csv", columns)
    checkpoint = classified / "points/table_classifier"
    assert run("predict", "--ckpt_path", checkpoint, "--data.predict_path", path, "--data.path", "gone.csv") == 0
    lines = (checkpoint / "predicted.csv").read_text().splitlines()
    assert lines[0].startswith("name,class,probability")
    assert len(lines) == 6


def test_report__shows_it(classified, tmp_path, capsys):
    assert run("report", classified / "points", "--out", tmp_path / "page", quick=False) == 0
    assert "table_classifier" in capsys.readouterr().out


def test_inspect__says_that_it_is_of_images(classified, capsys):
    assert run("inspect", "--data", "TableData", "--data.path", classified / "points.csv", quick=False) == 2
    assert "inspect looks at images, and TableData has none" in capsys.readouterr().err


@pytest.fixture(scope="module")
def regressed(tmp_path_factory):
    """A folder with a trained and tested regressor."""
    root = tmp_path_factory.mktemp("houses")
    write_table(root / "houses.csv", houses())
    data = ("--data", "TableData", "--data.path", root / "houses.csv", "--data.target", "price")
    args = ("--data.task", "regression", "--model", "TableRegressor", "--run.experiment", "houses")
    assert run("fit", *data, *args, *FAST, "--trainer.max_epochs", 40, root=root) == 0
    assert run("test", "--ckpt_path", root / "houses/table_regressor", *drawing("table")) == 0
    return root


def test_regression__is_measured_in_the_units_of_the_target(regressed, capsys):
    found = read(regressed, "houses", "table_regressor")
    assert 15 < found["test"]["rmse"] < 27
    assert found["test"]["r2"] > 0.9
    interval = found["test_intervals"]["mse"]
    assert interval["low"] < found["test"]["mse"] == interval["value"] < interval["high"]
    assert found["fit"]["monitor"] == "val/mse"
    # printed again where there is no new look
    assert run("test", "--ckpt_path", regressed / "houses/table_regressor") == 0
    assert "r2 0.9" in capsys.readouterr().out


def test_regression__is_reported_and_predicted(regressed, tmp_path, capsys):
    assert run("report", regressed / "houses", "--out", tmp_path / "page", quick=False) == 0
    assert "mse" in capsys.readouterr().out
    page = (tmp_path / "page/index.html").read_text()
    assert "r2" in page
    assert "balanced accuracy" not in page
    path = write_table(tmp_path / "new.csv", {"area": [1000, 2000]})
    checkpoint = regressed / "houses/table_regressor"
    assert run("predict", "--ckpt_path", checkpoint, "--data.predict_path", path, "--data.path", "gone.csv") == 0
    rows = [line.split(",") for line in (checkpoint / "predicted.csv").read_text().splitlines()]
    assert rows[0] == ["name", "price"]
    assert [float(row[1]) for row in rows[1:]] == pytest.approx([300, 400], rel=0.05)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--best_checkpoint.monitor", "val/f1_macro"), "val/f1_macro is of classes, and a number is predicted"),
        (("--model", "TableClassifier"), "--model TableClassifier predicts classes, and --data.task regression"),
        (("--data.task", "classification"), "--data.task regression if it is a number"),
    ],
)
def test_regression__what_does_not_fit_is_refused(regressed, args, message, capsys):
    data = ("--data", "TableData", "--data.path", regressed / "houses.csv", "--data.target", "price")
    given = ("--data.task", "regression", "--model", "TableRegressor", *args)
    assert run("fit", *data, *given, root=regressed) == 2
    assert message in capsys.readouterr().err


def test_coefficients__of_the_regression_are_those_of_least_squares(tmp_path, capsys):
    rng = np.random.default_rng(2)
    area, town = rng.uniform(500, 3500, 300), rng.choice(["Braga", "Faro", "Porto"], 300)
    price = 200 + 0.1 * area + 30 * (town == "Porto") - 15 * (town == "Faro") + rng.normal(0, 20, 300)
    columns = {"area": area.tolist(), "town": town.tolist(), "price": price.tolist()}
    path = write_table(tmp_path / "houses.csv", columns)
    options = {"path": str(path), "target": "price", "task": "regression", "val_fraction": 0.0}
    data = [word for name, value in options.items() for word in (f"--data.{name}", str(value))]
    sgd = ("--model.optimizer", "torch.optim.SGD", "--model.optimizer.lr", "0.1", "--trainer.max_epochs", "60")
    args = ("--data", "TableData", *data, "--model", "TableRegressor", *sgd, "--data.batch_size", "40")
    assert run("fit", *args, root=tmp_path) == 0
    (found,) = read(tmp_path, "table_data", "table_regressor")["coefficients"]
    rows = TableData(**options).splits["train"].rows.numpy()
    inputs = np.stack([area, town == "Faro", town == "Porto"], axis=1)[rows].astype(float)
    exact = LinearRegression().fit(inputs, price[rows])
    assert found["of"] == "price"
    assert found["intercept"] == pytest.approx(exact.intercept_, rel=0.01)
    assert list(found["columns"]) == ["area", "town=Braga", "town=Faro", "town=Porto"]
    assert found["columns"]["town=Braga"] == 0
    assert [v for n, v in found["columns"].items() if n != "town=Braga"] == pytest.approx(
        exact.coef_.tolist(), rel=0.01
    )
    assert "price = " in capsys.readouterr().out


def test_coefficients__of_the_classifier_are_those_of_scikit_learn(tmp_path):
    args = ("--config", "configs/table/two_groups.yaml", "--data.rows", 400, "--data.batch_size", 320)
    whole = ("--model.optimizer", "torch.optim.LBFGS", "--model.schedule", "null", "--trainer.max_epochs", 8)
    assert run("fit", *args, *whole, root=tmp_path) == 0
    (found,) = read(tmp_path, "two_groups", "table_classifier")["coefficients"]
    train = TwoGroups(rows=400, val_fraction=0.0).splits["train"]
    exact = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    inputs = train.source.gather(train.rows).numpy()
    scale = inputs.std(0)
    exact.fit(inputs / scale, train.labels.numpy())
    assert found["of"] == "log-odds of second"
    assert found["intercept"] == pytest.approx(exact.intercept_[0], rel=0.01)
    assert list(found["columns"].values()) == pytest.approx((exact.coef_[0] / scale).tolist(), rel=0.01)


def test_coefficients__are_those_of_the_epoch_that_is_kept(classified):
    checkpoint = classified / "points/table_classifier/checkpoints/best.ckpt"
    model = load_classifier(checkpoint)
    assert read(classified, "points", "table_classifier")["coefficients"] == model.result_facts["coefficients"]


def test_figures__show_the_line_and_the_boundary(regressed, tmp_path):
    figures = {path.name for path in (regressed / "houses/table_regressor/figures").iterdir()}
    assert {"test_fitted_line.png", "test_predicted_values.png"} <= figures
    args = ("--config", "configs/table/two_groups.yaml", "--data.rows", 100, "--trainer.max_epochs", 2)
    assert run("fit", *args, root=tmp_path) == 0
    assert run("test", "--ckpt_path", tmp_path / "two_groups/table_classifier", *drawing("table")) == 0
    assert (tmp_path / "two_groups/table_classifier/figures/test_decision_boundary.png").is_file()


class Frame:
    """What a data frame of pandas is to the predictor."""

    def __init__(self, columns):
        self.columns, self._columns = list(columns), columns

    def __getitem__(self, name):
        return np.array(self._columns[name])

    def to_dict(self):
        raise AssertionError


def test_load__predicts_classes_of_rows_in_any_form(classified):
    predictor = francesinha.load(classified / "points/table_classifier", device="cpu")
    columns = {name: values[:30] for name, values in points().items() if name != "label"}
    found = predictor.predict_proba(columns)
    assert found.shape == (30, 2)
    assert predictor.columns == ["age", "weight", "town"]
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    array = np.array([list(row.values()) for row in rows], dtype=object)
    for same in (rows, array, Frame(columns)):
        assert np.array_equal(predictor.predict_proba(same), found)
    assert list(predictor.predict(columns)) == [predictor.classes_[number] for number in found.argmax(1)]
    assert predictor.score(columns, points()["label"][:30]) > 0.5
    # the same as on the command line
    written = load_file(classified / "points/table_classifier/predictions.safetensors")
    data = TableData(path=str(classified / "points.csv"))
    test = data.splits["test"]
    order = test.ids.argsort()
    own = {name: [points()[name][row] for row in test.rows[order].tolist()] for name in columns}
    assert np.allclose(predictor.predict_proba(own), written["test/logits"].double().softmax(1).numpy(), atol=1e-6)


def test_load__predicts_numbers_in_their_units(regressed):
    predictor = francesinha.load(regressed / "houses/table_regressor", device="cpu")
    assert predictor.predict(np.array([[1000.0], [2000.0]])) == pytest.approx([300, 400], rel=0.05)
    assert predictor.score({"area": houses()["area"]}, houses()["price"]) > 0.9
    assert predictor.card["coefficients"][0]["of"] == "price"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            {"age": [1], "wieght": [1], "town": ["Faro"]},
            "no column 'weight', which the model reads; did you mean wieght?",
        ),
        ({"age": ["old"], "weight": [1], "town": ["Faro"]}, "column 'age' must hold numbers: row 0 has 'old'"),
        ({"age": [1], "weight": [1], "town": ["Faial"]}, "'Faial' .*--model.unseen zero"),
        ({"age": [None], "weight": [1], "town": ["Faro"]}, "column 'age' lacks 1 value"),
        (np.zeros((2, 2)), r"must have the shape \(row, 3\)"),
        ([1, 2], "rows must be a data frame"),
    ],
)
def test_load__what_cannot_be_read_is_named(classified, rows, message):
    predictor = francesinha.load(classified / "points/table_classifier", device="cpu")
    with pytest.raises(ValueError, match=message):
        predictor.predict(rows)


def test_commands_for_images__refuse_a_model_of_a_table(classified, capsys):
    checkpoint = classified / "points/table_classifier"
    assert run("predict", "--ckpt_path", checkpoint, "--images", classified, quick=False) == 2
    assert run("export", "--ckpt_path", checkpoint, quick=False) == 2
    said = capsys.readouterr().err
    assert "holds a model of tables: predict with --data.predict_path" in said
    assert "reads a table: models on images alone are exported" in said


def test_precision__that_rounds_the_columns_is_refused(classified, tmp_path, capsys):
    data = ("--data", "TableData", "--data.path", classified / "points.csv", "--trainer.max_epochs", 1)
    args = ("fit", "--model", "TableClassifier", *data, "--trainer.precision")
    assert run(*args, "bf16-true", root=tmp_path) == 2
    assert "bf16-true rounds the columns themselves" in capsys.readouterr().err
    assert run(*args, "64-true", root=tmp_path) == 0


def test_test__on_a_table_that_has_changed_says_what(tmp_path, capsys):
    columns = points()
    path = write_table(tmp_path / "points.csv", columns)
    args = ("--data", "TableData", "--data.path", path, "--model", "TableClassifier", "--trainer.max_epochs", 1)
    assert run("fit", *args, root=tmp_path) == 0
    columns["age"][5] += 1
    write_table(path, columns)
    capsys.readouterr()
    assert run("test", "--ckpt_path", tmp_path / "table_data/table_classifier") == 0
    (said,) = (line for line in capsys.readouterr().out.splitlines() if "DATA CHANGED" in line)
    assert "1 row is new" in said
    assert "image" not in said


def test_stack__of_a_number_is_refused_before_anything_runs(tmp_path):
    data = TableData(path=str(write_table(tmp_path / "h.csv", houses())), target="price", task="regression")
    with pytest.raises(ValueError, match=r"a stack combines classifiers, and --data.task regression"):
        check_samples(None, data)


def test_checkpoint__with_a_damaged_table_is_refused(classified, tmp_path):
    content = torch.load(classified / "points/table_classifier/checkpoints/best.ckpt", weights_only=True)
    del content["architecture"]["init_args"]["data_info"]["table"]["columns"][0]["mean"]
    torch.save(content, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"columns\[0\].mean is missing"):
        load_classifier(tmp_path / "best.ckpt")
