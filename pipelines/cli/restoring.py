"""How a Trainer restores a checkpoint: errors name the file, and what is missing or does not fit."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from callbacks import RandomState, RunRecorder
from common.lightning_seam import CheckpointConnector
from common.warned import warn
from lightning_modules.checkpoint_fields import LOADER, RESUMED, check_kinds
from lightning_modules.checkpoint_io import way_out
from records.damaged import damaged
from records.fields import check_fields


class CheckedRestore(CheckpointConnector):
    """Lightning's, which leaves out what it does not find, and names no file in its errors."""

    def resume_start(self, checkpoint_path: Any = None, weights_only: bool | None = None) -> None:
        """Read the checkpoint.

        Raises:
            ValueError: it lacks a part that resuming needs; the message names it
        """
        with naming_checkpoint(checkpoint_path):
            super().resume_start(checkpoint_path, weights_only)
        if checkpoint_path and self.trainer.state.fn == TrainerFn.FITTING:
            check_resumable(self.loaded, Path(checkpoint_path), self.trainer)

    def restore_model(self) -> None:
        """Restore the weights."""
        if self.loaded:
            check_kinds(self.loaded["state_dict"], self.trainer.lightning_module, str(self.path))
        with naming_checkpoint(self.path):
            super().restore_model()

    def restore_datamodule(self) -> None:
        """Restore where in the epoch the data was."""
        with naming_checkpoint(self.path):
            super().restore_datamodule()

    def restore_callbacks(self) -> None:
        """Restore the state of callbacks."""
        with naming_checkpoint(self.path):
            if self.path:
                follow_moved_folder(self.loaded.get("callbacks", {}), Path(self.path), self.trainer)
            super().restore_callbacks()

    def restore_training_state(self) -> None:
        """Restore loops, optimizers and schedules."""
        with naming_checkpoint(self.path):
            super().restore_training_state()


def follow_moved_folder(states: dict[str, Any], path: Path, trainer: pl.Trainer) -> None:
    """Let a run go on whose folder was moved or copied: Lightning would forget the best score, and replace the best.

    Args:
        states: of callbacks, as the checkpoint holds them; changed in place
        path: the checkpoint's file
        trainer: that is to resume
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if not isinstance(callback, ModelCheckpoint) or callback.dirpath is None:
            continue
        state, folder = states.get(callback.state_key, {}), Path(callback.dirpath)
        before = state.get("dirpath")
        # a run that starts from another one's checkpoint has a best of its own
        if before is None or before == callback.dirpath or path.resolve().parent != folder.resolve():
            continue
        kept = {moved(old, before, folder): score for old, score in state["best_k_models"].items()}
        if all(Path(file).is_file() for file in kept):
            names = ("best_model_path", "last_model_path", "kth_best_model_path")
            state |= {name: moved(state[name], before, folder) for name in names}
            state |= {"best_k_models": kept, "dirpath": callback.dirpath}


def moved(path: str, before: str, folder: Path) -> str:
    """Return where a file is now that lay in a folder before; other files are where they were.

    Args:
        path: of the file
        before: the folder's earlier path
        folder: its path
    """
    return str(folder / Path(path).relative_to(before)) if Path(path).is_relative_to(before) else path


@contextmanager
def naming_checkpoint(path: Any) -> Iterator[None]:
    """Name a checkpoint in the errors of what is restored from it.

    Args:
        path: of its file

    Raises:
        ValueError: it does not fit, or lacks something
    """
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError, AssertionError) as error:
        name = f"its field {error}" if isinstance(error, KeyError) else "a field of it"
        what = f"{name} is missing, or is something else"
        raise damaged(path, what, way_out(Path(path))) from error
    except (ValueError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if str(path) in text:
            raise
        if "loading state_dict" in text:
            text = "the weights do not fit the model's options: " + text.partition(": ")[2]
        raise ValueError(f"{path}: {text}") from error


def check_resumable(checkpoint: dict[str, Any], path: Path, trainer: pl.Trainer) -> None:
    """Refuse to resume from a checkpoint that lacks a part: Lightning would silently begin that part anew.

    Args:
        checkpoint: its content
        path: its file
        trainer: that is to resume

    Raises:
        ValueError: a part is missing
    """
    if "optimizer_states" not in checkpoint and "callbacks" not in checkpoint:
        raise ValueError(
            f"{path} holds weights alone, without the state of the training: start from them by --model.weights {path} "
            f"in place of --ckpt_path"
        )
    check_fields(checkpoint, RESUMED, path, way_out(path))
    averages = {"averaging_state", "current_model_state"}
    if missing := averages - checkpoint.keys() if averages & checkpoint.keys() else set():
        raise damaged(path, f"{' and '.join(missing)} is missing", way_out(path))
    data = trainer.datamodule  # type: ignore[attr-defined]
    name = type(data).__qualname__
    trained = checkpoint.get("config", {}).get("data", {}).get("class_path", "")
    if trained.rpartition(".")[2] == name and name not in checkpoint:
        raise damaged(path, f"{name} is missing, which records the batches that are left", way_out(path))
    loaders = [checkpoint.get(name), *checkpoint["loops"]["fit_loop"]["state_dict"].get("combined_loader", [])]
    for state in loaders:
        # loaders of other kinds have other states
        if isinstance(state, dict) and state.keys() & LOADER.keys():
            check_fields({name: state}, {name: LOADER}, path, way_out(path))
    ours = [callback.state_key for callback in trainer.callbacks if isinstance(callback, RandomState | RunRecorder)]  # type: ignore[attr-defined]
    unknown = [key for key in ours if key not in checkpoint["callbacks"]]
    if unknown:
        warn(f"{path} holds no state of {' and '.join(unknown)}: the run continues, but not bit for bit")
