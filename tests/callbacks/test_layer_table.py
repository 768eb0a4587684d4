import pytest

from callbacks import LayerTable
from lightning_modules import MLP, SmallCNN
from tests.helpers.data import Blobs
from tests.helpers.training import trainer


def test_table__exact_sum_and_no_operations_that_were_not_counted(tmp_path, capsys):
    data = Blobs()
    model = MLP(data_info=data.info, hidden=[8])
    model.head.requires_grad_(False)
    options = {"callbacks": [LayerTable()], "max_epochs": 1, "enable_checkpointing": False}
    trainer(tmp_path, **options).fit(model, datamodule=data)
    printed = capsys.readouterr().out
    assert "backbone" in printed
    total = sum(parameter.numel() for parameter in model.parameters())
    frozen = sum(parameter.numel() for parameter in model.head.parameters())
    assert f"{total:,} parameters, {frozen} of them frozen" in printed
    assert "FLOPs" not in printed


def printed_rows(model, data, tmp_path, capsys, depth):
    options = {"callbacks": [LayerTable(depth)], "max_epochs": 1, "enable_checkpointing": False}
    trainer(tmp_path, **options, limit_train_batches=1, limit_val_batches=0).fit(model, datamodule=data)
    lines = [line.strip("│ \n").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    return {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in lines}


def test_table__output_shapes_and_exact_counts(tmp_path, capsys):
    data = Blobs(count=30)
    model = SmallCNN(data_info=data.info)
    rows = printed_rows(model, data, tmp_path, capsys, 2)
    assert rows["preprocessing"][:3] == ["Preprocessing", "1x16x16", "0"]
    assert rows["backbone.0"][:3] == ["Conv2d", "32x14x14", "320"]
    assert rows["backbone.3"][:3] == ["Conv2d", "64x5x5", "18,496"]
    assert rows["backbone.7"][:3] == ["Linear", "64", "16,448"]
    assert rows["backbone"][1:3] == ["64", f"{sum(p.numel() for p in model.backbone.parameters()):,}"]
    assert rows["head"][:3] == ["Linear", "3", "195"]
    assert rows["criterion"][1] == ""


@pytest.mark.parametrize("depth", [1, 2, -1])
def test_table__any_depth(depth, tmp_path, capsys):
    data = Blobs(count=30)
    rows = printed_rows(MLP(data_info=data.info, hidden=[8]), data, tmp_path, capsys, depth)
    assert ("backbone.1" in rows) == (depth != 1)
    assert rows["backbone"][1] == "8"
