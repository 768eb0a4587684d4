import pytest
import torch

from datamodules import DataInfo
from datamodules.table_info import Column, TableInfo, codes_of
from lightning_modules import SmallCNN, TableClassifier
from tests.helpers.data import data_info

TABLE = TableInfo([Column("age", [], 40.0, 10.0, 38.0), Column("town", ["Braga", "Porto"])], "mean")


def info(**changes):
    return DataInfo(
        **{"num_classes": 2, "class_names": ["no", "yes"], "class_counts": [5, 5], "table": TABLE} | changes
    )


def rows(*pairs):
    codes = codes_of(["Braga", "Faro", "Porto"])
    return torch.tensor([[age, codes.get(town, float("nan"))] for age, town in pairs], dtype=torch.float64)


def test_inputs__are_standardised_filled_and_one_hot():
    model = TableClassifier(data_info=info())
    found = model.inputs(rows((50.0, "Porto"), (float("nan"), "Braga"), (40.0, "")))
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.tensor([[1.0, 0, 1], [-0.2, 1, 0], [0, 0, 0]]))
    assert model.inputs.names == ["age", "town=Braga", "town=Porto"]


def test_inputs__large_numbers_keep_their_digits():
    table = TableInfo([Column("time", [], 1e12, 1.0)])
    found = TableClassifier(data_info=info(table=table)).inputs(torch.tensor([[1e12 + 1.5]], dtype=torch.float64))
    assert found.item() == 1.5


def test_hidden__makes_an_mlp():
    assert sum(p.numel() for p in TableClassifier(data_info=info()).parameters()) == 3 * 2 + 2
    mlp = TableClassifier(data_info=info(), hidden=[8, 4])
    assert mlp(rows((50.0, "Porto"))).shape == (1, 2)
    assert mlp.features(rows((50.0, "Porto"))).shape == (1, 4)


def test_rows__unseen_categories_and_missing_numbers_are_told():
    texts = {code: text for text, code in codes_of(["Faro"]).items()}
    strange = rows((50.0, "Faro"), (float("nan"), "Porto"))
    with pytest.raises(ValueError, match=r"column 'town' holds .*: 'Faro' \(1 row, first 'a'\): --model.unseen zero"):
        TableClassifier(data_info=info()).check_rows(strange, ["a", "b"], texts)
    TableClassifier(data_info=info(), unseen="zero").check_rows(strange, ["a", "b"], texts)
    strict = TableInfo(TABLE.columns, "error")
    with pytest.raises(ValueError, match=r"'age' lacks 1 value \('b'\), and the model was trained with --data.missing"):
        TableClassifier(data_info=info(table=strict), unseen="zero").check_rows(strange, ["a", "b"], texts)


def test_models__refuse_what_they_cannot_read():
    with pytest.raises(ValueError, match=r"SmallCNN needs images: for a table, use --model TableClassifier"):
        SmallCNN(data_info=info())
    with pytest.raises(ValueError, match=r"TableClassifier needs columns: --data TableData"):
        TableClassifier(data_info=data_info())
    numbers = TableInfo(TABLE.columns, "mean", target=Column("price", [], 3.0, 1.0))
    with pytest.raises(ValueError, match=r"use --model TableRegressor, or --data.task classification"):
        TableClassifier(data_info=info(table=numbers))


def test_info__survives_its_plain_form_and_tells_other_tables():
    one = info()
    assert DataInfo.from_plain(one.plain()) == one
    for table, message in (
        (None, "has no table"),
        (TableInfo(TABLE.columns[:1]), "the columns of ours and theirs differ"),
        (TableInfo(TABLE.columns, known_by="images"), "knows its samples by rows, and theirs by images"),
        (TableInfo([Column("age", ["a"]), TABLE.columns[1]]), "columns 'age' hold numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            one.check_compatible(info(table=table), "ours", "theirs")
