"""The command line: LightningCLI with run folders, data links and forced callbacks."""

import signal
from argparse import ArgumentError
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import (
    Callback,
    LearningRateMonitor,
    ModelCheckpoint,
    RichModelSummary,
)
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from callbacks import (
    EMA,
    EarlyStopping,
    FigureOptions,
    HParamsMetrics,
    LastCheckpoint,
    ProgressBar,
    RandomState,
    ResumableCSVLogger,
    RunRecorder,
    StoppedError,
    Throughput,
)
from callbacks.drawing.options import with_figures
from common import class_paths, yaml_files
from common.cli_seam import BaseCLI
from common.jsonargparse_seam import reset_options_with_class, use_project_yaml
from common.lightning_seam import use_checkpoint_connector
from common.ranges import check_range
from datamodules import DataInfo, ImageDataModule
from datamodules.data_record import refuse_changed
from engine.gpu_check import stop_probing_for_gpus
from engine.out_of_memory import naming_smaller_batch
from engine.training_loop import use_lean_loop
from lightning_modules import Classifier
from lightning_modules.checkpoint_io import WholeFileIO
from lightning_modules.checkpoints import read_checkpoint, refuse_lost_best
from lightning_modules.training.compute import settle_precision
from pipelines.cli import after_run
from pipelines.cli.callback_options import as_list, check_callbacks
from pipelines.cli.changed_data import changed_since
from pipelines.cli.checks import check_average, check_imbalance, check_monitor, check_resumed, check_validation
from pipelines.cli.config_files import check_configs
from pipelines.cli.errors import FullDiskError, UsageError, explain_parsing, naming_full_disk
from pipelines.cli.held_run import WORKS, hold, new_run, refuse_stale, stamp
from pipelines.cli.null_options import refuse_nulls
from pipelines.cli.option_checks import check_seed, check_trainer, naming_options
from pipelines.cli.order import (
    check_classes,
    check_reruns,
    given_checkpoint,
    in_order,
    no_validation,
    options_elsewhere,
    plain_config,
    run_names,
    trained_with,
)
from pipelines.cli.predicted import print_predicted, write_predicted
from pipelines.cli.restoring import CheckedRestore
from records import run_dir
from records.result_files import keep_earlier
from records.run_dir import RunDir, RunOptions
from records.versions import REPOSITORY, git_commit, versions
from records.whole_file import write_whole

DEFAULTS = REPOSITORY / "configs" / "defaults.yaml"
SUBCOMMANDS = tuple(WORKS)


class ImageCLI(BaseCLI):
    """Train, validate, test and predict with any model on any data set.

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
                Classifier,
                ImageDataModule,
                subclass_mode_model=True,
                subclass_mode_data=True,
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={
                    "exit_on_error": False,
                    # a shortened option would change its meaning when a longer one is added
                    "allow_abbrev": False,
                    **{name: dict(parser_kwargs) for name in SUBCOMMANDS},
                },
                auto_configure_optimizers=False,
                load_from_checkpoint_support=False,
                args=self.arguments,
            )

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run folder's options and the callbacks that every run needs."""
        parser.add_class_arguments(RunOptions, "run")
        parser.add_class_arguments(FigureOptions, "figures")
        parser.add_lightning_class_args(ModelCheckpoint, "best_checkpoint")
        parser.add_lightning_class_args(LastCheckpoint, "last_checkpoint")
        parser.add_lightning_class_args(EMA, "ema")
        parser.add_lightning_class_args(EarlyStopping, "early_stopping")
        parser.add_lightning_class_args(LearningRateMonitor, "lr_monitor")
        parser.add_lightning_class_args(ProgressBar, "progress_bar")
        parser.add_lightning_class_args(RichModelSummary, "model_summary")
        best = {"filename": "best", "monitor": "val/accuracy", "mode": "max", "enable_version_counter": False}
        parser.set_defaults(
            {f"best_checkpoint.{name}": value for name, value in best.items()} | {"model_summary.max_depth": 1}
        )

    # parsing

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Put what a named checkpoint was trained with beneath configs and command line."""
        subcommand, name = args[0], given_checkpoint(args)
        if name in (None, "null", "last", "best"):
            # last and best are those of the run that the configuration names
            self.config = self._parse(parser, args)
            name = self.config[subcommand].ckpt_path
            if name is None and subcommand == "fit":
                return
        path = self._find_checkpoint(subcommand, name)
        before = stamp(path)
        # mapped, because no tensor is looked at here
        self.checkpoint = read_checkpoint(path, mapped=True)
        trained = trained_with(self.checkpoint, path)
        class_paths.judge_all(trained, str(path))
        beneath = [subcommand, "--config", yaml_files.dump(trained)]
        self.config = self._parse(parser, [*beneath, *args[1:]])
        self.in_place = subcommand != "fit" or name == "last" or Path(str(name)).is_dir()
        if name not in (None, "last", "best"):
            elsewhere = options_elsewhere(args, self.config[subcommand].run, path)
            if elsewhere and subcommand == "fit" and self.in_place:
                raise UsageError(
                    f"--ckpt_path {name} continues in that folder, and {' and '.join(elsewhere)} names another: leave "
                    f"that out, or start a new run with --ckpt_path {path}"
                )
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
        refuse_nulls(parsed[args[0]])
        return parsed

    def read_checkpoint(self) -> None:
        """Do nothing: Lightning's method lets the checkpoint win over the command line, unlike `parse_arguments`."""

    def _find_checkpoint(self, subcommand: str, name: str | None) -> Path:
        if name not in (None, "last", "best"):
            path = Path(str(name))
            run = RunDir(path)
            return path if not path.is_dir() else run.last if subcommand == "fit" else refuse_lost_best(run.weights)
        folder, run_name = run_names(self.config[subcommand])
        found = run_dir.newest(folder, run_name)
        if found is None:
            raise FileNotFoundError(
                f"no run of {folder / run_name} has a checkpoint: train one with fit, or name one by --ckpt_path FILE"
            )
        return found.last if name == "last" else refuse_lost_best(found.weights)

    # instantiation

    def seed(self) -> None:
        """Seed the generators, by a number that they take."""
        check_seed(self.config[self.subcommand].seed_everything)
        super().seed()

    def instantiate_classes(self) -> None:
        """Build the data first, hand what it knows to the model, and then build the rest."""
        parser, config = self.parser_of(self.subcommand), self.config[self.subcommand]
        check_classes(config)
        check_trainer(config.trainer, str(self.subcommand))
        check_range("--model_summary.max_depth", config.model_summary.max_depth, "[-1, inf)")
        check_monitor(config.best_checkpoint)
        if config.early_stopping.patience is not None:
            config.early_stopping.monitor = config.early_stopping.monitor or config.best_checkpoint.monitor
        if config.trainer.default_root_dir is not None:
            raise ValueError("--trainer.default_root_dir is the run's folder: choose it by --run.root and --run.name")
        check_callbacks(config.trainer)
        self.link_data_to_model(parser, config)
        if self.subcommand == "fit":
            check_validation(config, self.model, self.datamodule)
            check_average(config, self.model, self.checkpoint)
        # vars has them whole; items would name their leaves, and build data and model once more
        parts = Namespace(**{name: value for name, value in vars(config).items() if name not in ("data", "model")})
        self.config_init = Namespace({self.subcommand: parser.instantiate(parts)})
        self.trainer = self.instantiate_trainer()

    def link_data_to_model(self, parser: LightningArgumentParser, config: Namespace) -> None:
        """Build data and model; the config keeps the resolved values, so that it reruns the run by itself."""
        trained = None
        if self.checkpoint is not None:
            trained = DataInfo.from_plain(self.checkpoint["architecture"]["init_args"]["data_info"])
            height, width = trained.image_size
            # files of any size and colour are served as they were in training
            if config.data.init_args.image_size is None and height == width:
                config.data.init_args.image_size = height
            if "channels" in config.data.init_args and config.data.init_args.channels is None:
                config.data.init_args.channels = trained.in_channels
            if config.data.init_args.get("value_range") == "auto":
                # older models were trained on all that a pixel can hold
                config.data.init_args.value_range = trained.value_range or "full"
        self.datamodule = parser.instantiate(Namespace(data=config.data)).data
        self._compare_data()
        given = config.model.init_args.get("data_info")
        if trained is None:
            info = self.datamodule.info
            if given is not None:
                DataInfo.from_plain(dict(vars(given))).check_compatible(info, "--model.data_info", "--data")
        else:
            # a loss that corrects the imbalance needs that of the data it is trained on
            fits = self.subcommand == "fit"
            info = replace(trained, class_counts=self.datamodule.info.class_counts) if fits else trained
            if self.subcommand != "predict":
                changed = f" (the data has changed since: {'; '.join(self.changed)})" if self.changed else ""
                info.check_compatible(self.datamodule.info, str(config.ckpt_path), f"--data{changed}")
        config.model.init_args.data_info = Namespace(info.plain())
        model = config.model.clone()
        if self.checkpoint is not None:
            # the checkpoint's weights replace those that the run had started from, whose file need not exist any more
            for option, nothing in (("weights", None), ("pretrained", False)):
                if option in model.init_args:
                    model.init_args[option] = nothing
        self.model = parser.instantiate(Namespace(model=model)).model
        if self.subcommand == "fit":
            self.model.check_trainable()
        check_imbalance(self.model, self.datamodule)

    def _compare_data(self) -> None:
        """Look for what has changed of the data since the checkpoint was trained on it; a run must not continue then.

        Raises:
            DataChangedError: the run is to be trained on
        """
        if self.checkpoint is None or self.subcommand == "predict":
            return
        path, fits = Path(self.config[self.subcommand].ckpt_path), self.subcommand == "fit"
        self.changed = changed_since(self.checkpoint, path, self.datamodule, same=fits and self.in_place)
        if fits:
            refuse_changed(self.changed, str(path))
        elif self.changed:
            rank_zero_warn(f"{path} was trained on data that has changed since: {'; '.join(self.changed)}")

    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        """Build the Trainer over the run's folder."""
        config = self.config[self.subcommand]
        # wrong options are found before a folder is made
        self._resolve()
        self.run = self._choose_run(config)
        # the config names this run, so that --ckpt_path last continues it
        self.resolved["run"] |= {"experiment": self.run.folder.parent.name, "name": self.run.folder.name}
        self._dump()
        built = self.config_init[self.subcommand]
        options: dict[str, Any] = {**vars(built.trainer), **kwargs}
        loggers = self._loggers(options["logger"])
        forced = [built[key] for key in self.parser_of(self.subcommand).callback_keys]
        callbacks = [*self._kept(forced, options, bool(loggers)), *as_list(options["callbacks"])]
        options |= {
            "default_root_dir": str(self.run.folder),
            "logger": loggers or False,
            "callbacks": with_figures(callbacks, built.figures, self.run.figures, self.run.folder),
            # the forced, named one takes its place
            "enable_model_summary": False,
        }
        with naming_options():
            trainer = pl.Trainer(**options)
        use_lean_loop(trainer)
        use_checkpoint_connector(trainer, CheckedRestore)
        settle_precision(trainer, self.model)
        if type(trainer.strategy.checkpoint_io) is TorchCheckpointIO:
            # the default, and no plugin of the user's
            trainer.strategy.checkpoint_io = WholeFileIO()
        return trainer

    def _choose_run(self, config: Namespace) -> RunDir:
        if config.ckpt_path and self.in_place:
            run = run_dir.of_checkpoint(Path(config.ckpt_path))
            if run is not None:
                return run
        folder, name = run_names(config)
        if config.trainer.fast_dev_run:
            # fast_dev_run writes nothing
            return RunDir(folder / name)
        run = self.held.enter_context(new_run(folder, name, WORKS[str(self.subcommand)]))
        if self.subcommand == "fit" and config.ckpt_path is None and run_dir.was_restarted():
            # Lightning finds by itself what it saved when SLURM ended the job
            config.ckpt_path = str(run.last) if run.last.is_file() and not run.requeue_is_newest else None
            self.config_init.fit.ckpt_path = config.ckpt_path
        return run

    @property
    def _saves_config(self) -> bool:
        return self.subcommand == "fit" and not self.config.fit.trainer.fast_dev_run

    def _resolve(self) -> None:
        parser = self.parser_of(self.subcommand)
        resolved = plain_config(parser, self.config[self.subcommand])
        # a saved config starts a run of its own
        self.resolved = {name: value for name, value in resolved.items() if name not in ("ckpt_path", "config")}
        if self._saves_config:
            check_reruns(parser, self.resolved)

    @rank_zero_only
    def _dump(self) -> None:
        if self._saves_config:
            if self.run.config.is_file() and self.run.config.read_bytes() != yaml_files.dump(self.resolved).encode():
                keep_earlier(self.run.config)
            with write_whole(self.run.config) as partial:
                yaml_files.write(partial, self.resolved)

    def _loggers(self, given: Any) -> list[Logger]:
        if given is False:
            return []
        forced: list[Logger] = []
        if self.subcommand == "fit":
            folder = str(self.run.folder)
            forced = [
                TensorBoardLogger(folder, name="", version="", default_hp_metric=False),
                ResumableCSVLogger(folder),
            ]
        return [*forced, *([] if given is True else as_list(given))]

    def _kept(self, callbacks: list[Callback], trainer: dict[str, Any], logged: bool) -> list[Callback]:
        resolved, config = self.resolved, self.config[self.subcommand]
        best = config.best_checkpoint
        files, watched = (self.run.result, self.run.predictions), (best.monitor, best.mode)
        recorder = RunRecorder(*files, resolved, self._facts(), *watched, self.run.data, self.changed)
        kept = [callback for callback in callbacks if logged or not isinstance(callback, LearningRateMonitor)]
        kept = [callback for callback in kept if self._is_wanted(callback)]
        for callback in kept:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.run.checkpoints.absolute())
        if self.subcommand == "fit" and no_validation(config.trainer, self.model, self.datamodule):
            # without validation, the last epoch counts as the best
            kept = [c for c in kept if not (isinstance(c, ModelCheckpoint) and c.monitor == best.monitor)]
        if trainer["enable_checkpointing"] is False or self.subcommand != "fit":
            kept = [callback for callback in kept if not isinstance(callback, ModelCheckpoint)]
        if trainer["enable_progress_bar"] is False:
            kept = [callback for callback in kept if not isinstance(callback, ProgressBar)]
        if trainer["enable_model_summary"] is False or self.subcommand != "fit":
            kept = [callback for callback in kept if not isinstance(callback, RichModelSummary)]
        hparams = HParamsMetrics({k: resolved[k] for k in ("model", "data") if k in resolved})
        measured = [Throughput()] if self.subcommand == "fit" else []
        # these come before the checkpoint callbacks, which save their state
        return [recorder, RandomState(), hparams, *measured, *kept]

    def _is_wanted(self, callback: Callback) -> bool:
        if isinstance(callback, EMA):
            return callback.decay is not None and self.subcommand == "fit"
        if isinstance(callback, EarlyStopping):
            return callback.wanted and self.subcommand == "fit"
        return True

    def _facts(self) -> dict[str, Any]:
        config = self.config[self.subcommand]
        return {
            "experiment": self.run.folder.parent.name,
            "run": self.run.folder.name,
            "model": config.model.class_path,
            "data": config.data.class_path,
            "seed": config.seed_everything,
            "versions": versions(),
            "git_commit": git_commit(),
        }

    # what the person at the prompt reads

    def carry_out(self, subcommand: str) -> None:
        """Run the command; an error is reported with what to do about it."""
        try:
            with naming_smaller_batch(self.trainer, self.datamodule, self.model), naming_full_disk(self.run.folder):
                super().carry_out(subcommand)
        except (StoppedError, FullDiskError):
            self._say_how_to_go_on()
            raise
        except SystemExit as error:
            # Lightning raises this for a signal before training, or for a second one
            if not self.trainer.interrupted:
                raise
            self._say_how_to_go_on()
            if isinstance(error, SIGTERMException):
                raise StoppedError(signal.SIGTERM) from None
            raise KeyboardInterrupt from None

    def _say_how_to_go_on(self) -> None:
        if self.subcommand == "fit" and self.trainer.is_global_zero:
            after_run.print_resume(Console(), self.run)

    @rank_zero_only
    def after_fit(self) -> None:
        """Say what was reached, where it lies and what to run next."""
        if self.config.fit.trainer.fast_dev_run:
            return
        after_run.print_fit(Console(), self.run)

    @rank_zero_only
    def after_validate(self) -> None:
        """Print the notes on the validation."""
        after_run.print_validation(Console(), self.run)

    @rank_zero_only
    def after_test(self) -> None:
        """Show a stack beside its members, and what leaked."""
        after_run.print_test(Console(), self.run)

    @rank_zero_only
    def after_predict(self) -> None:
        """Write the predictions as a table."""
        path = write_predicted(self.run, self.datamodule.samples("predict"), self.model)
        print_predicted(Console(), path, self.model, self.datamodule.predict_notes)
