"""RunRecorder: the run's result.json, predictions and provenance."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from callbacks.evaluation_facts import (
    circumstances,
    evaluation,
    what_is_special,
    with_groups,
)
from callbacks.loggers import EventLogger, ResumableCSVLogger
from callbacks.throughput import Throughput
from common.lightning_seam import steps_logged
from datamodules.base import DataModule
from datamodules.data_record import DataRecord, changes, is_meant, refuse_changed
from datamodules.provenance import Provenance
from ensembling.leakage import leakage_allowed
from lightning_modules.model import Model
from measures.by_source import by_source_names
from records.damaged import DamagedFileError
from records.ledger import add_look, model_key
from records.recorded import sums_of
from records.result_files import keep_earlier, or_put_aside, read_result, says_the_same, write_json, write_predictions
from records.run_dir import table_of, tables_of

# files of a finished fit that a reader compares with the result
RECORDED = ("config.yaml", "metrics.csv")


class RunRecorder(Callback):
    """Record what a run ends with and what is needed to believe it.

    During `fit` it keeps the validation metrics and predictions of the best epoch, the one whose weights are in
    best.ckpt; `validate` and `test` add theirs. Files are written whole and then renamed.

    Args:
        result: path of result.json
        predictions: path of predictions.safetensors
        config: the resolved configuration; its model and data go into checkpoints
        facts: what the caller knows of the run, for result.json
        monitor: the metric that chooses the best epoch
        mode: max or min
        data: path of the record of the data that the run is trained on; None keeps none
        changed: what has changed of the data since the model was trained, for result.json
        ledger: folder of the ledgers in which each test is a look; None writes none down
    """

    def __init__(
        self,
        result: Path,
        predictions: Path,
        config: Mapping[str, Any],
        facts: Mapping[str, Any],
        monitor: str = "val/accuracy",
        mode: str = "max",
        data: Path | None = None,
        changed: Sequence[str] = (),
        ledger: Path | None = None,
    ) -> None:
        self.result, self.predictions, self.config, self.facts = result, predictions, config, facts
        self.data, self.changed, self.ledger = data, list(changed), ledger
        self.monitor, self.sign = monitor, 1 if mode == "max" else -1
        self.best: dict[str, float] = {}
        self.best_epoch = -1
        # what that epoch's weights say of the model
        self.best_facts: dict[str, Any] = {}
        # whether this process has replaced what the folder held before
        self.replaced = False
        self.trained = False
        # the metrics of the last epoch that was saved
        self.last: dict[str, float] = {}
        self.seconds_before = 0.0
        self.started = time.monotonic()

    # state of a resumed run

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        folder = str(self.result.parent.resolve())
        best = {"best": self.best, "best_epoch": self.best_epoch, "best_facts": self.best_facts}
        return {**best, "seconds": self._seconds(), "folder": folder}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from an earlier part of the run."""
        self.seconds_before = state_dict["seconds"]
        # a run that starts from another one's checkpoint has a best.ckpt of its own
        if state_dict["folder"] == str(self.result.parent.resolve()):
            self.best, self.best_epoch = state_dict["best"], state_dict["best_epoch"]
            # checkpoints of earlier versions do not have them
            self.last = state_dict.get("last", {})
            self.best_facts = state_dict.get("best_facts", {})

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the configuration into the checkpoint, so that it can be tested by its path alone; and metrics so far."""
        checkpoint["config"] = {name: self.config[name] for name in ("model", "data", "sets") if name in self.config}
        # a run that is killed after its last epoch, and resumed, logs none
        checkpoint["callbacks"][self.state_key]["last"] = last_metrics(trainer) or self.last

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Refuse to continue with data that has changed; a requeued job comes here first.

        Raises:
            DataChangedError: it has
        """
        before, data = checkpoint.get("data_record"), getattr(trainer, "datamodule", None)
        fits = trainer.state.fn == "fit"
        if fits and before and isinstance(data, DataModule) and is_meant(before, data):
            refuse_changed(changes(before, self.data, data), str(trainer.ckpt_path))

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    # fit

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note that the weights change, and on what; a run that is resumed after its end does not come here."""
        self.trained = True
        loop = trainer.fit_loop.epoch_loop
        for logger in trainer.loggers:
            if isinstance(logger, EventLogger | ResumableCSVLogger):
                # a step whose end was not counted yet when the state was saved is in it
                logger.cut(steps_logged(trainer) + int(loop.restarted_on_train_batch_end))
        data = getattr(trainer, "datamodule", None)
        if self.data is not None and trainer.is_global_zero and isinstance(data, DataModule):
            self._write_data(self.data, data.record, is_rehearsal(trainer))

    def _write_data(self, path: Path, record: DataRecord, rehearsal: bool) -> None:
        if rehearsal:
            return
        if path.is_file():
            with suppress(DamagedFileError):
                if DataRecord.read(path).digests == record.digests:
                    return
            # damaged, or of the same data, split otherwise
            keep_earlier(path)
        record.write(path)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the metrics and predictions of the best epoch so far."""
        if trainer.sanity_checking or not isinstance(pl_module, Model) or is_rehearsal(trainer):
            return
        metrics, monitor = pl_module.metrics, self.monitor.removeprefix("val/")
        if trainer.state.fn != "fit":
            self._write(trainer, pl_module, {"val": metrics}, "val")
        elif not self.best or self.sign * metrics[monitor] > self.sign * self.best[monitor]:
            self.best, self.best_epoch, self.best_facts = metrics, trainer.current_epoch, pl_module.result_facts
            if trainer.is_global_zero:
                self._replace_earlier()
                rows = with_groups(pl_module.predictions, trainer.datamodule.served("val"))  # type: ignore[attr-defined]
                write_predictions(self.predictions, {"val": rows}, leakage_allowed(pl_module.leakage))

    def _replace_earlier(self) -> None:
        # what an earlier part of the run wrote, its test results too, belongs to weights that are no longer the best
        if not self.replaced:
            for path in (self.result, self.predictions, *tables_of(self.predictions)):
                keep_earlier(path)
                path.unlink(missing_ok=True)
        self.replaced = True

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write result.json of the whole fit."""
        if not isinstance(pl_module, Model) or is_rehearsal(trainer):
            return
        if self.trained and not self.best and trainer.is_global_zero:
            # without validation the last weights are those that count
            self._replace_earlier()
        metrics = last_metrics(trainer) or self.last
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        speed = next((c.summary() for c in callbacks if isinstance(c, Throughput)), {})
        fit = {
            "epochs": trainer.current_epoch,
            "steps": trainer.global_step,
            "seconds": round(self._seconds(), 3),
            **speed,
            "best_epoch": self.best_epoch,
            "monitor": self.monitor,
            **learning_rate(trainer, pl_module),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "last": metrics,
        }
        for logger in trainer.loggers:
            # it keeps rows back
            logger.save()
        files = sums_of(self.result.with_name(name) for name in RECORDED) if trainer.is_global_zero else {}
        self._write(trainer, pl_module, {"fit": fit, "files": files, **({"val": self.best} if self.best else {})})

    # test

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the test metrics and predictions."""
        if not isinstance(pl_module, Model) or is_rehearsal(trainer):
            return
        entries: dict[str, Any] = {"test": pl_module.metrics}
        if pl_module.member_results:
            entries["members"] = pl_module.member_results
        self._write(trainer, pl_module, entries, "test")

    def _write(
        self,
        trainer: pl.Trainer,
        model: Model,
        entries: dict[str, Any],
        evaluated: str | None = None,
    ) -> None:
        if not trainer.is_global_zero:
            return
        earlier = or_put_aside(read_result, self.result)
        data = trainer.datamodule  # type: ignore[attr-defined]
        this = {} if evaluated is None else {evaluated: evaluation(trainer, model, evaluated, self.changed)}
        before = earlier.get("evaluations", {}).get(evaluated)
        changed = any(name in earlier and not says_the_same(earlier[name], entry) for name, entry in entries.items())
        if evaluated is not None and before is not None:
            # two data sets can have the same metrics, as where all is right
            changed |= before["fingerprint"] != this[evaluated]["fingerprint"]
        if changed and not (self.replaced and "fit" in entries):
            for path in (self.result, self.predictions, *tables_of(self.predictions)):
                keep_earlier(path)
        if evaluated == "test":
            this[evaluated] |= self._look(model, this[evaluated])
        splits = {name: samples for name, samples in data.splits.items() if len(samples)}
        facts = {
            **self.facts,
            "parameters": sum(p.numel() for p in model.parameters()),
            "trainable_parameters": sum(p.numel() for p in model.parameters() if p.requires_grad),
            "samples": {name: len(samples) for name, samples in splits.items()},
            "fingerprints": {name: data.fingerprint(name) for name in splits},
            "data_record": data.record.plain(),
            "split_seed": data.split_seed,
            "class_names": model.info.class_names,
            **(self.best_facts if "fit" in entries and self.best else model.result_facts),
            **what_is_special(data),
            **circumstances(trainer),
        }
        facts["parameters"] += model.frozen_parameters
        if model.leakage is not None:
            facts["leakage"] = model.leakage.plain()
        # a stack that is being fitted has the record of its members
        facts |= Provenance.of().union(model.provenance, model.current_provenance()).origins()
        # what a fit wrote of itself stands when the run is tested later, perhaps elsewhere
        facts = {**earlier, **facts} if "fit" in entries else {**facts, **earlier}
        if evaluated is not None:
            # the facts by source of the earlier evaluation are dropped: its data may have had other sources
            dropped = (*by_source_names(evaluated), f"{evaluated}_sets", f"{evaluated}_threshold")
            facts = {name: fact for name, fact in facts.items() if name not in dropped}
            facts["evaluations"] = facts.get("evaluations", {}) | this
            rows = with_groups(model.predictions, data.served(evaluated))
            write_predictions(self.predictions, {evaluated: rows}, leakage_allowed(model.leakage))
            model.prediction_table(data, evaluated).write(table_of(self.predictions, evaluated))
            entries |= model.evaluation_entries(evaluated, data, rows)
        write_json(self.result, {**facts, **entries})

    def _look(self, model: Model, evaluated: Mapping[str, Any]) -> dict[str, Any]:
        """Write down that the test labels were looked at; return what the result says of it."""
        if self.ledger is None:
            return {}
        run = self.result.absolute().parent
        looks = add_look(
            self.ledger,
            evaluated["fingerprint"],
            "test",
            f"{run.parent.name}/{run.name}",
            {type(model).__name__: model_key(model.state_dict(), *model.beside_weights)},
            checkpoint=evaluated["checkpoint"],
            samples=evaluated["samples"],
        )
        return {} if looks is None else {"look": looks.plain()}


def learning_rate(trainer: pl.Trainer, model: Model) -> dict[str, float]:
    """Return the last learning rate; a head that is solved at once has none."""
    if model.solved or not trainer.optimizers:
        return {}
    return {"learning_rate": float(trainer.optimizers[0].param_groups[0]["lr"])}


def last_metrics(trainer: pl.Trainer) -> dict[str, float]:
    """Return the newest value of each metric."""
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def is_rehearsal(trainer: pl.Trainer) -> bool:
    """Tell whether this is a `fast_dev_run`, which leaves nothing behind."""
    return bool(getattr(trainer, "fast_dev_run", False))
