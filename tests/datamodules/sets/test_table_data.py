from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules import TableData
from datamodules.table_info import codes_of
from tests.helpers.tables import houses, points, write_table


def table(tmp_path, columns=None, **options):
    path = write_table(tmp_path / "table.csv", points() if columns is None else columns)
    return TableData(path=str(path), **options)


def test_table__columns_are_numbers_and_codes_of_texts(tmp_path):
    data = table(tmp_path)
    every = torch.cat([part.source.gather(part.rows) for part in data.splits.values() if len(part)])
    assert [column.name for column in data.dataset.columns] == ["age", "weight", "town"]
    assert every.dtype == torch.float64
    assert sorted(every[:, 0].tolist()) == sorted(points()["age"])
    assert set(every[:, 2].tolist()) == set(codes_of(["Braga", "Faro", "Porto"]).values())
    batch = next(iter(data.test_dataloader()))
    assert batch["table"].shape == (len(data.splits["test"]), 3)
    assert data.dataset.class_names == ["no", "yes"]


def test_table__statistics_are_of_the_training_split_alone(tmp_path):
    data = table(tmp_path)
    train = data.splits["train"]
    own = train.source.gather(train.rows)[:, 0]
    column = data.info.table.columns[0]
    assert (column.mean, column.std) == pytest.approx((float(own.mean()), float(own.std(correction=0))))
    # other rows of test change nothing
    changed = points() | {"age": list(points()["age"])}
    for row in data.splits["test"].rows.tolist():
        changed["age"][row] += 1000
    by_split = ["test" if row in set(data.splits["test"].rows.tolist()) else "train" for row in range(200)]
    first, second = (
        table(tmp_path, columns | {"split": by_split}, val_fraction=0).info.table for columns in (points(), changed)
    )
    assert first == second


def test_table__splits_depend_on_content_and_not_on_order(tmp_path):
    columns = points()
    order = np.random.default_rng(1).permutation(200)
    shuffled = {name: [values[row] for row in order] for name, values in columns.items()}
    one, other = table(tmp_path, columns), table(tmp_path, shuffled)
    first = {name: set(part.ids.tolist()) for name, part in one.splits.items()}
    assert first == {name: set(part.ids.tolist()) for name, part in other.splits.items()}
    assert first != {
        name: set(part.ids.tolist()) for name, part in table(tmp_path, columns, split_seed=1).splits.items()
    }


def test_table__equal_rows_are_never_divided_and_told(tmp_path):
    once = points(60)
    data = table(tmp_path, {name: values * 3 for name, values in once.items()})
    keys = [set(part.keys.tolist()) for part in data.splits.values()]
    assert sum(map(len, keys)) == len(set.union(*keys)) == 60
    assert "120 of 180 rows are equal to another one" in data.training_notes()[0]
    ids = torch.cat([part.ids for part in data.splits.values()])
    assert len(ids.unique()) == 180


def test_table__ids_make_rows_samples_whatever_is_in_them(tmp_path):
    columns = {"house": [f"h{row}" for row in range(200)], **points()}
    one = table(tmp_path, columns, id="house")
    splits = one.splits
    assert splits["train"].sample_names()[0].startswith("h")
    other = table(tmp_path, columns | {"more": list(range(200))}, id="house").splits
    assert {name: set(part.ids.tolist()) for name, part in splits.items()} == {
        name: set(part.ids.tolist()) for name, part in other.items()
    }
    assert one.provenance.knows(other["train"], "fitted").all()
    assert not one.provenance.knows(other["test"], "fitted").any()
    assert "house" not in one.info.table.names


def test_table__groups_sources_and_splits_mean_what_they_do_in_a_manifest(tmp_path):
    columns = points() | {"group": [f"g{row % 40}" for row in range(200)], "source": ["a", "b"] * 100}
    data = table(tmp_path, columns)
    groups = [set(part.groups.tolist()) for part in data.splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 40
    assert data.dataset.source_names == ("a", "b")
    assert data.info.table.names == ["age", "weight", "town"]
    # named as features, they are features
    assert table(tmp_path, columns, features=["group", "age"]).info.table.names == ["group", "age"]


def test_table__missing_values_are_told_or_filled_from_training(tmp_path):
    columns = points()
    columns["age"][3] = columns["age"][7] = ""
    columns["town"][5] = "NA"
    with pytest.raises(ValueError, match=r"'age' lacks 2 values \(rows 4, 8\): .*--data.missing mean or median"):
        table(tmp_path, columns).splits  # noqa: B018
    data = table(tmp_path, columns, missing="median")
    train = data.splits["train"]
    ages = train.source.gather(train.rows)[:, 0]
    assert data.info.table.columns[0].fill == pytest.approx(float(ages[~ages.isnan()].quantile(0.5)))
    # a text that is missing is none of the categories
    assert data.info.table.columns[2].categories == ["Braga", "Faro", "Porto"]


def test_table__numbers_can_be_names(tmp_path):
    columns = points() | {"zip": [4700 + row % 3 for row in range(200)]}
    assert table(tmp_path, columns).info.table.columns[3].is_number
    assert table(tmp_path, columns, categorical=("zip",)).info.table.columns[3].categories == ["4700", "4701", "4702"]


def test_table__parquet_is_read_as_csv_is(tmp_path):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pa.table(points()), tmp_path / "table.parquet")
    one, other = table(tmp_path), TableData(path=str(tmp_path / "table.parquet"))
    assert one.info == other.info
    assert torch.equal(one.splits["test"].ids, other.splits["test"].ids)


def test_table__regression_keeps_the_numbers(tmp_path):
    data = table(tmp_path, houses(), target="price", task="regression")
    train = data.splits["train"]
    assert data.info.num_classes == 1
    assert data.info.table.target.mean == pytest.approx(float(train.values.mean()))
    assert sorted(torch.cat([p.values for p in data.splits.values()]).tolist()) == sorted(houses()["price"])
    assert next(iter(data.test_dataloader()))["value"].dtype == torch.float64


def without(name):
    return {other: values for other, values in points().items() if other != name}


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (points(), {"target": "lable"}, "no column 'lable', which --data.target names; did you mean label?"),
        (points(), {"features": ["age", "wieght"]}, "no column 'wieght', .*--data.features.*did you mean weight?"),
        (points(), {"numeric": ("town",)}, r"column 'town': 200 of 200 values are no numbers \(row 1: '\w+'\): mend"),
        (points() | {"label": ["yes"] * 200}, {}, r"column 'label' has one class \('yes'\)"),
        (points() | {"label": ["yes", ""] * 100}, {}, "100 of 200 labels are missing"),
        (points() | {"flat": [3] * 200}, {}, r"column 'flat' has one value \(3\) in the training split.*--data.drop"),
        (points() | {"again": points()["label"]}, {}, "column 'again' is equal to the target 'label' in every row"),
        (points(), {"features": ["age", "label"]}, "--data.features names the target 'label'"),
        (points(), {"features": ["age", "age"]}, "--data.features names 'age' more than once"),
        (points() | {"name": [f"n{row}" for row in range(200)]}, {}, "200 different texts in 200 rows.*--data.drop"),
        (points() | {"age": [*points()["age"][:-1], "old"]}, {}, r"'age': a value is no number \(row 200: 'old'\)"),
        (points() | {"age": ["1,5"] * 200}, {}, r"'age' writes numbers with a comma \(row 1: '1,5'\): write points"),
        (houses(), {"target": "price"}, "labels are not whole numbers.*--data.task regression"),
        (houses() | {"price": ["", *houses()["price"][1:]]}, {"target": "price", "task": "regression"}, "missing in 1"),
        (points(), {"task": "regression"}, "target 'label' is no number in 200 rows .*--data.task classification"),
        (houses() | {"cents": houses()["price"]}, {"target": "price", "task": "regression"}, "'cents' is equal to the"),
        (points() | {"key": ["a"] * 200}, {"id": "key"}, "column 'key' names several rows 'a'.*call it group"),
        (without("label"), {}, "no column 'label'"),
    ],
)
def test_table__what_is_wrong_is_named_in_one_line(tmp_path, columns, options, message):
    with pytest.raises(ValueError, match=message) as caught:
        table(tmp_path, columns, **options).info  # noqa: B018
    assert "\n" not in str(caught.value)


def test_table__a_column_named_twice(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("a,b,a,label\n1,2,3,x\n2,3,4,y\n")
    with pytest.raises(ValueError, match="has column 'a' more than once"):
        TableData(path=str(path)).dataset  # noqa: B018


def test_table__options_of_classes_are_refused_for_numbers():
    with pytest.raises(ValueError, match=r"--data.sampler is for classes, and --data.task regression"):
        TableData(task="regression", sampler="balanced")
    with pytest.raises(FileNotFoundError, match=r"--data.path 'nowhere.csv' is not a file"):
        TableData(path=str(Path("nowhere.csv"))).dataset  # noqa: B018


def test_table__a_source_is_held_out_in_words_of_rows(tmp_path):
    columns = points() | {"source": ["a", "b"] * 100, "group": [f"g{row // 2}" for row in range(200)]}
    data = table(tmp_path, columns, leave_out_source="a", held_out="test")
    with pytest.warns(UserWarning, match=r"100 training rows are left out: they are copies of rows that are held out"):
        assert len(data.hold_out(data.dataset)[0]) == 0
