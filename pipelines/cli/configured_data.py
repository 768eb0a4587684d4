"""The DataModule of a resolved configuration."""

from typing import Any

from jsonargparse import ArgumentParser

from common import class_paths
from datamodules.base import DataModule


def build_data(section: dict[str, Any]) -> DataModule:
    """Build the DataModule of a resolved configuration.

    Args:
        section: its part `data`
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(DataModule, "data")
    data = parser.instantiate(parser.parse_object({"data": class_paths.up_to_date(section)})).data
    assert isinstance(data, DataModule)
    return data
