"""What the data tells the model, and what a checkpoint tells both."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from jsonargparse import Namespace

from datamodules import DataInfo, DataModule


def trained_info(checkpoint: Mapping[str, Any]) -> DataInfo:
    """Return what the model of a checkpoint knows of the data that it was trained on."""
    return DataInfo.from_plain(checkpoint["architecture"]["init_args"]["data_info"])


def serve_as_trained(options: Namespace, trained: DataInfo) -> None:
    """Serve files of any size, colour and range of values as they were served in training, unless options say how.

    Args:
        options: of the data, which are filled in
        trained: what the model knows of the data that it was trained on
    """
    height, width = trained.image_size
    if "image_size" in options and options.image_size is None and height == width:
        options.image_size = height
    if "channels" in options and options.channels is None:
        options.channels = trained.in_channels
    if options.get("value_range") == "auto":
        # older models were trained on all that a pixel can hold
        options.value_range = trained.value_range or "full"
    if trained.table is not None and "features" in options:
        options.features = trained.table.names
        for option, numbers in (("numeric", True), ("categorical", False)):
            if option in options:
                options[option] = [c.name for c in trained.table.columns if c.is_number is numbers]


def info_from_data(data: DataModule, given: Namespace | None) -> DataInfo:
    """Return what a new model is told of its data.

    Args:
        data: the model's
        given: `--model.data_info`, which must agree with it; None where it is left out
    """
    if given is not None:
        DataInfo.from_plain(dict(vars(given))).check_compatible(data.info, "--model.data_info", "--data")
    return data.info


def info_from_checkpoint(trained: DataInfo, data: DataModule, path: str, work: str, changed: list[str]) -> DataInfo:
    """Return what a model that was trained before is told of its data.

    Args:
        trained: what it was told in training
        data: of today, which must agree with it; for predict it is not asked, because it need not exist any more
        path: of the checkpoint
        work: the subcommand, such as test
        changed: what has changed of the data since
    """
    if work == "predict":
        return trained
    since = f" (the data has changed since: {'; '.join(changed)})" if changed else ""
    # a loss that corrects the imbalance needs that of the data it is trained on
    info = replace(trained, class_counts=data.info.class_counts) if work == "fit" else trained
    info = info.with_problem(data.info)
    info.check_compatible(data.info, path, f"--data{since}")
    return info


def without_first_weights(model: Namespace) -> Namespace:
    """Copy a model's configuration without the weights that its run had started from.

    A checkpoint's weights replace them, and their file need not exist any more.
    """
    copy = model.clone()
    for option, nothing in (("weights", None), ("pretrained", False), ("weights_head", False)):
        if option in copy.init_args:
            copy.init_args[option] = nothing
    return copy
