"""The DataModule of a resolved configuration."""

from typing import Any

from jsonargparse import ArgumentParser

from common import class_paths
from datamodules.base import ImageDataModule


def build_data(section: dict[str, Any]) -> ImageDataModule:
    """Build the DataModule of a resolved configuration.

    Args:
        section: its part `data`
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageDataModule, "data")
    data = parser.instantiate(parser.parse_object({"data": class_paths.up_to_date(section)})).data
    assert isinstance(data, ImageDataModule)
    return data
