from callbacks import LayerTable
from lightning_modules import MLP
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
