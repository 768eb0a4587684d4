"""The command line of `fit`, parsed and not run."""

from typing import Any

from jsonargparse import Namespace

from pipelines.cli.callback_options import check_callbacks
from pipelines.cli.config_files import check_configs
from pipelines.cli.image_cli import ImageCLI
from pipelines.cli.order import check_classes, in_order, plain_config


class FitParser(ImageCLI):
    """Parse command lines of `fit`, and build nothing."""

    def __init__(self) -> None:
        super().__init__(["fit"])

    def seed(self) -> None:
        """Leave the generators alone."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def carry_out(self, subcommand: str) -> None:
        """Run nothing."""

    def parse(self, args: list[str]) -> Namespace:
        """Parse a command line without its command, and refuse what a Trainer of ours does not take."""
        check_configs(args)
        config = self._parse(self.parser, in_order(["fit", *args])).fit
        check_classes(config)
        check_callbacks(config.trainer)
        return config

    def plain(self, config: Namespace) -> dict[str, Any]:
        """Return a configuration as plain types."""
        return plain_config(self.parser_of("fit"), config)

    def build(self, **parts: Namespace) -> Any:
        """Build a part of a configuration, such as the data."""
        return self.parser_of("fit").instantiate(Namespace(**parts))
