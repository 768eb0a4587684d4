"""The command line, parsed: its options, its configs, and what a named checkpoint was trained with."""

from argparse import ArgumentError
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser

from callbacks import EMA, EarlyStopping, FigureOptions, LastCheckpoint, LayerTable, LearningRates, ProgressBar
from callbacks.drawing.given_images import GradCamOptions
from common import class_paths, yaml_files
from common.cli_seam import BaseCLI
from common.jsonargparse_seam import (
    option_names,
    reset_options_with_class,
    use_project_yaml,
    whole_numbers_first,
)
from datamodules import DataModule
from engine.gpu_check import stop_probing_for_gpus
from lightning_modules import Model
from lightning_modules.checkpoints import read_checkpoint
from measures.set_options import SetOptions
from pipelines.cli.checks import check_resumed
from pipelines.cli.config_files import check_configs, configs_of, unknown_empty
from pipelines.cli.errors import UsageError, explain_parsing
from pipelines.cli.held_run import WORKS, hold, refuse_stale, stamp
from pipelines.cli.named_checkpoint import (
    OF_THE_RUN,
    find_checkpoint,
    given_checkpoint,
    options_elsewhere,
    refuse_elsewhere,
    trained_with,
)
from pipelines.cli.null_options import refuse_nulls
from pipelines.cli.order import in_order
from records import run_dir
from records.run_dir import RunOptions
from records.versions import REPOSITORY

DEFAULTS = REPOSITORY / "configs" / "defaults.yaml"
SUBCOMMANDS = tuple(WORKS)


class ParsedCLI(BaseCLI):
    """Parse what fit, validate, test and predict take.

    The command line beats `--config` files, which beat what a checkpoint given by `--ckpt_path` was trained with.

    Args:
        args: the command line after the program's name
    """

    def __init__(self, args: list[str]) -> None:
        stop_probing_for_gpus()
        reset_options_with_class()
        use_project_yaml()
        check_configs(args)
        self.arguments = in_order(args)
        self.only = self.arguments[0]
        self.checkpoint: dict[str, Any] | None = None
        # whether results go into the checkpoint's run, rather than into a new one
        self.in_place = False
        # what has changed of the data since the checkpoint was trained on it
        self.changed: list[str] = []
        parser_kwargs = {
            "default_config_files": [str(DEFAULTS)],
            "exit_on_error": False,
        }
        # the run's folder, which no other process writes into until the command has ended
        with ExitStack() as self.held:
            super().__init__(
                Model,
                DataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={
                    "exit_on_error": False,
                    # a shortened option would change its meaning when a longer one is added
                    "allow_abbrev": False,
                    self.only: parser_kwargs,
                },
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                args=self.arguments,
            )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """Name the subcommand that is run: to build the options of the others too takes a third of a command's time."""
        return {self.only: super().subcommands()[self.only]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder's options and the callbacks that every run needs."""
        parser.add_class_arguments(RunOptions, "run")
        parser.add_class_arguments(FigureOptions, "figures")
        parser.add_class_arguments(GradCamOptions, "grad_cam")
        parser.add_class_arguments(SetOptions, "sets")
        parser.add_lightning_class_args(ModelCheckpoint, "best_checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(LearningRates, "lr_monitor")
        parser.add_lightning_class_args(ProgressBar, "progress_bar")
        parser.add_lightning_class_args(LayerTable, "model_summary")
        best = {"filename": "best", "monitor": "val/accuracy", "mode": "max", "enable_version_counter": False}
        parser.set_defaults(
            {f"best_checkpoint.{name}": value for name, value in best.items()} | {"model_summary.max_depth": 1}
        )
        whole_numbers_first(parser)

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Put what a named checkpoint was trained with beneath configs and command line."""
        subcommand, name = args[0], given_checkpoint(args)
        if name in OF_THE_RUN:
            self.config = self._parse(parser, args)
            name = self.config[subcommand].ckpt_path
            if name is None and subcommand == "fit":
                return
            path = find_checkpoint(subcommand, name, self.config[subcommand])
        else:
            path = find_checkpoint(subcommand, name, None)
        before = stamp(path)
        # mapped, because no tensor is looked at here
        self.checkpoint = read_checkpoint(path, mapped=True)
        trained = trained_with(self.checkpoint, path)
        class_paths.judge_all(trained, str(path))
        beneath = [subcommand, "--config", yaml_files.dump(trained)]
        self.config = self._parse(parser, [*beneath, *args[1:]])
        self.in_place = subcommand != "fit" or name == "last" or Path(str(name)).is_dir()
        if name not in OF_THE_RUN:
            elsewhere = options_elsewhere(args, self.config[subcommand].run, path)
            if subcommand == "fit" and self.in_place:
                refuse_elsewhere(name, elsewhere, path)
            self.in_place = self.in_place and not elsewhere
        self._hold(subcommand, path, before)
        # one made without the command line does not tell its optimizer
        if subcommand == "fit" and "config" in self.checkpoint:
            check_resumed(self.config.fit.model, self._parse(parser, beneath).fit.model, path)
        self.config[subcommand].ckpt_path = str(path)

    def _hold(self, subcommand: str, path: Path, before: tuple[int, ...]) -> None:
        run = run_dir.of_checkpoint(path)
        if run is None or not self.in_place or self.config[subcommand].trainer.fast_dev_run:
            return
        self.held.enter_context(hold(run, WORKS[subcommand]))
        refuse_stale(path, before)

    def _parse(self, parser: LightningArgumentParser, args: list[str]) -> Namespace:
        try:
            parsed = parser.parse_args(args)
        except ArgumentError as error:
            raise UsageError(explain_parsing(str(error), self.parser_of(args[0]), args)) from error
        for path, content in configs_of(args):
            # the parser sees no value in an empty mapping, whatever its name
            if told := unknown_empty(content, [name[2:] for name in option_names(self.parser_of(args[0]))]):
                raise UsageError(f"{path}, unknown option {told}")
        refuse_nulls(parsed[args[0]])
        return parsed

    def read_checkpoint(self) -> None:
        """Do nothing: Lightning's method lets the checkpoint win over the command line, unlike `parse_arguments`."""
