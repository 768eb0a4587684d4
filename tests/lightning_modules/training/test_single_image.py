import pytest
import torch

from lightning_modules import MLP, ConvNeXt, ResNet, SmallCNN
from lightning_modules.training.single_image import takes_one
from tests.helpers.data import Blobs, data_info
from tests.helpers.training import trainer

SHAPE = (3, 32, 32)


@pytest.mark.parametrize(
    ("model", "takes"),
    [
        (lambda info: MLP(data_info=info, hidden=[8]), False),
        (lambda info: MLP(data_info=info, hidden=[8], freeze="backbone"), True),
        # 32 pixels are one at its end
        (lambda info: ResNet(data_info=info), False),
        (lambda info: ResNet(data_info=info, stem="cifar"), True),
        (lambda info: SmallCNN(data_info=info), True),
        (lambda info: ConvNeXt(data_info=info), True),
    ],
)
def test_takes_one__is_what_torch_does(model, takes):
    network = model(data_info()).backbone
    modes = [module.training for module in network.modules()]
    assert takes_one(network, SHAPE) == takes
    assert [module.training for module in network.modules()] == modes
    if takes:
        network(torch.zeros(1, *SHAPE))
    else:
        with pytest.raises(ValueError, match="more than 1 value"):
            network(torch.zeros(1, *SHAPE))


@pytest.mark.parametrize("size", [1, 59])
def test_fit__a_batch_of_one_is_refused_and_a_remainder_of_one_is_not(size, tmp_path):
    data = Blobs(batch_size=size, val_fraction=0.0)
    assert len(data.samples("train")) == 60
    model = MLP(data_info=data.info, hidden=[8])
    fitting = trainer(tmp_path, max_epochs=1, enable_checkpointing=False)
    if size > 1:
        fitting.fit(model, datamodule=data)
        return
    with pytest.raises(ValueError, match="--data.batch_size 1 makes a batch of one image, and BatchNorm .*: use "):
        fitting.fit(model, datamodule=data)
