import inspect
import sys

import jsonargparse.typing
from jsonargparse import ArgumentParser, lazy_instance

from common.lazy_seam import lazy
from lightning_modules.training.losses import Focal, Loss


def test_lazy__is_what_lazy_instance_is():
    ours, theirs = lazy(Focal, gamma=3.0), lazy_instance(Focal, gamma=3.0)
    assert type(ours) is type(theirs)
    # the class is kept in the module that calls
    assert type(ours) is sys.modules[__name__].LazyInstance_Focal
    assert ours.lazy_get_init_data() == theirs.lazy_get_init_data()
    assert isinstance(ours, Focal)
    assert jsonargparse.typing.inspect is inspect


def test_lazy__is_a_default_whose_options_can_be_set():
    default = lazy(Focal, gamma=3.0)

    def train(loss: Loss = default):
        """Train."""

    parser = ArgumentParser(exit_on_error=False)
    parser.add_function_arguments(train)
    assert parser.parse_args([]).loss.init_args.gamma == 3.0
    parsed = parser.parse_args(["--loss.gamma", "1.5"])
    assert parsed.loss.class_path.endswith("Focal")
    assert parsed.loss.init_args.gamma == 1.5
