"""The command line: LightningCLI with run folders, data links and forced callbacks."""

import signal
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from rich.console import Console

from callbacks import ProgressBar, StoppedError
from callbacks.drawing.given_images import GradCamOptions, find_images
from callbacks.drawing.options import with_figures
from common import yaml_files
from common.lightning_seam import use_checkpoint_connector
from common.ranges import check_range
from common.warned import warn
from datamodules.data_record import refuse_changed
from engine.out_of_memory import naming_smaller_batch
from engine.training_loop import use_lean_loop
from lightning_modules import Classifier
from lightning_modules.checkpoint_io import WholeFileIO
from lightning_modules.training.compute import settle_precision
from pipelines.cli import after_run
from pipelines.cli.callback_options import as_list, check_callbacks
from pipelines.cli.changed_data import changed_since
from pipelines.cli.changed_options import changed_options
from pipelines.cli.checks import (
    check_average,
    check_imbalance,
    check_monitor,
    check_validation,
    check_watched,
    follow_model,
)
from pipelines.cli.data_and_model import (
    info_from_checkpoint,
    info_from_data,
    serve_as_trained,
    trained_info,
    without_first_weights,
)
from pipelines.cli.errors import FullDiskError, naming_full_disk
from pipelines.cli.held_run import WORKS, new_run
from pipelines.cli.named_checkpoint import experiment_beside
from pipelines.cli.option_checks import check_seed, check_trainer, naming_options
from pipelines.cli.order import check_classes, check_reruns, no_validation, plain_config, run_names
from pipelines.cli.parsed_cli import ParsedCLI
from pipelines.cli.predicted import PredictedSets, print_predicted, write_predicted
from pipelines.cli.restoring import CheckedRestore
from pipelines.cli.run_parts import kept, loggers_of, recording
from records import launched, run_dir
from records.result_files import keep_earlier
from records.run_dir import RunDir
from records.whole_file import write_whole


class ImageCLI(ParsedCLI):
    """Train, validate, test and predict with any model on any data set.

    The command line beats `--config` files, which beat what a checkpoint given by `--ckpt_path` was trained with.

    Args:
        args: the command line after the program's name
    """

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
        follow_model(config)
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
            check_watched(config, self.model, self.datamodule)
            check_average(config, self.model, self.checkpoint)
        # vars has them whole; items would name their leaves, and build data and model once more
        parts = Namespace(**{name: value for name, value in vars(config).items() if name not in ("data", "model")})
        self.config_init = Namespace({self.subcommand: parser.instantiate(parts)})
        self.model.set_options = self.config_init[self.subcommand].sets
        self._check_images(self.config_init[self.subcommand].grad_cam)
        self.trainer = self.instantiate_trainer()

    def _check_images(self, options: GradCamOptions) -> None:
        """Refuse a class or images for Grad-CAM that are not there, before the test rather than after it."""
        if options.wanted and self.model.reads != "image":
            raise ValueError("--grad_cam is for models on images")
        options.class_number(self.model.info.class_names)
        split = {"test": "test", "validate": "val"}.get(str(self.subcommand))
        if options.images and split is not None:
            find_images(options.images, self.datamodule, split, self.model.info)

    def link_data_to_model(self, parser: LightningArgumentParser, config: Namespace) -> None:
        """Build data and model; the config keeps the resolved values, so that it reruns the run by itself."""
        trained = None if self.checkpoint is None else trained_info(self.checkpoint)
        if trained is not None:
            serve_as_trained(config.data.init_args, trained)
        self.datamodule = parser.instantiate(Namespace(data=config.data)).data
        self._compare_data()
        data, model = self.datamodule, config.model
        if trained is None:
            model.init_args.data_info = Namespace(info_from_data(data, model.init_args.get("data_info")).plain())
        else:
            info = info_from_checkpoint(trained, data, str(config.ckpt_path), str(self.subcommand), self.changed)
            model.init_args.data_info = Namespace(info.plain())
            # the saved config keeps them
            model = without_first_weights(model)
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
            warn(f"{path} was trained on data that has changed since: {'; '.join(self.changed)}")

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
        fits = self.subcommand == "fit"
        loggers = loggers_of(options["logger"], self.run.folder, fits)
        forced = self._forced(options, bool(loggers))
        callbacks = [*forced, *as_list(options["callbacks"])]
        options |= {
            "default_root_dir": str(self.run.folder),
            "logger": loggers or False,
            "callbacks": with_figures(callbacks, built.figures, self.run.figures, self.run.folder, built.grad_cam),
            # the forced, named ones take their places
            "enable_model_summary": False,
            "enable_progress_bar": any(isinstance(callback, ProgressBar) for callback in callbacks),
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

    def _forced(self, trainer: dict[str, Any], logged: bool) -> list[Callback]:
        """Return the callbacks that every run has: those that record it, and those that options have a name for."""
        config, built = self.config[self.subcommand], self.config_init[self.subcommand]
        parser = self.parser_of(self.subcommand)
        shown = changed_options(parser, self.resolved) if self.subcommand == "fit" else None
        recorded = recording(self.run, config, self.resolved, self.changed, shown)
        # later configs cannot replace these by their lists
        forced = [*recorded, *(built[key] for key in parser.callback_keys)]
        fits, monitor = self.subcommand == "fit", config.best_checkpoint.monitor
        validates = not (fits and no_validation(config.trainer, self.model, self.datamodule))
        needed = kept(forced, trainer, monitor, logged, fits, validates)
        for callback in needed:
            if isinstance(callback, ModelCheckpoint) and callback.dirpath is None:
                callback.dirpath = str(self.run.checkpoints.absolute())
        return needed

    def _choose_run(self, config: Namespace) -> RunDir:
        if config.ckpt_path and self.in_place:
            run = run_dir.of_checkpoint(Path(config.ckpt_path))
            if run is not None:
                return run
        folder, name = run_names(config)
        if config.ckpt_path and self.subcommand != "fit":
            folder = experiment_beside(self.arguments, config.run, Path(config.ckpt_path)) or folder
        if config.trainer.fast_dev_run:
            # fast_dev_run writes nothing
            return RunDir(folder / name)
        run = self.held.enter_context(new_run(folder, name, WORKS[str(self.subcommand)]))
        if self.subcommand == "fit" and launched.may_go_on() and run.state is not None:
            # what the job itself has reached, also where it began with another run's checkpoint
            config.ckpt_path = self.config_init.fit.ckpt_path = str(run.state)
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

    # what the person at the prompt reads

    def carry_out(self, subcommand: str) -> None:
        """Run the command; an error is reported with what to do about it."""
        try:
            with naming_smaller_batch(self.trainer, self.datamodule, self.model), naming_full_disk(self.run.folder):
                super().carry_out(subcommand)
        except (StoppedError, FullDiskError) as error:
            requeued = isinstance(error, StoppedError) and error.number == signal.SIGUSR1
            self._say_how_to_go_on(launched.slurm_job() if requeued else None)
            raise
        except SystemExit as error:
            # Lightning raises this for a signal before training, or for a second one
            if not self.trainer.interrupted:
                raise
            self._say_how_to_go_on()
            if isinstance(error, SIGTERMException):
                raise StoppedError(signal.SIGTERM) from None
            raise KeyboardInterrupt from None

    def _say_how_to_go_on(self, queued: str | None = None) -> None:
        if self.subcommand == "fit" and self.trainer.is_global_zero:
            after_run.print_resume(Console(), self.run, queued)

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
        if not isinstance(self.model, Classifier):
            path = write_predicted(self.run, self.model.prediction_table(self.datamodule, "predict"))
            print_predicted(Console(), path, self.model, self.datamodule.predict_notes)
            return
        # the training data, which names the sources, need not be there for images without any
        names = self.datamodule.dataset.source_names if "source" in self.model.predictions else ()
        sets = PredictedSets.of(self.model, names)
        path = write_predicted(self.run, self.model.prediction_table(self.datamodule, "predict", sets.texts))
        print_predicted(Console(), path, self.model, [*self.datamodule.predict_notes, *sets.notes], sets.sentence)
