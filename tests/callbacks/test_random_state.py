import torch
from lightning.pytorch import LightningModule

from callbacks import RandomState


def test_random_state__the_next_draw_is_that_of_the_uninterrupted_run():
    torch.manual_seed(3)
    state = RandomState().state_dict()
    expected = torch.rand(4)
    torch.manual_seed(8)
    resumed = RandomState()
    resumed.load_state_dict(state)
    # what is set up before training starts draws numbers too
    torch.rand(7)
    resumed.on_train_start(None, LightningModule())
    assert torch.equal(torch.rand(4), expected)


def test_random_state__a_new_run_keeps_its_own():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    RandomState().on_train_start(None, LightningModule())
    assert torch.equal(torch.rand(4), expected)
