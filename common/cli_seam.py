"""LightningCLI with public names for what it keeps to itself, in one place: a new version may change it."""

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI


class BaseCLI(LightningCLI):
    """LightningCLI; a subclass overrides these methods in place of private ones."""

    def parser_of(self, subcommand: str | None) -> LightningArgumentParser:
        """Return the parser of a subcommand."""
        return self._parser(subcommand)

    def seed(self) -> None:
        """Seed the generators of random numbers as the options say."""
        super()._set_seed()

    def read_checkpoint(self) -> None:
        """Let the checkpoint of `--ckpt_path` add to the options."""
        super()._parse_ckpt_path()

    def carry_out(self, subcommand: str) -> None:
        """Run a subcommand of the Trainer."""
        super()._run_subcommand(subcommand)

    def _set_seed(self) -> None:
        self.seed()

    def _parse_ckpt_path(self) -> None:
        self.read_checkpoint()

    def _run_subcommand(self, subcommand: str) -> None:
        self.carry_out(subcommand)
