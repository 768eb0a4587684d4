"""Models rebuilt from checkpoints, loaded safely."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import class_paths
from common.memory_errors import is_out_of_memory
from datamodules.info import DataInfo
from datamodules.provenance import Provenance
from lightning_modules.checkpoint_fields import check_checkpoint, check_kinds
from lightning_modules.checkpoint_io import file_sha256, read_archive, way_out
from lightning_modules.classifier import Classifier
from lightning_modules.model import Model
from records.damaged import damaged
from records.run_dir import BEST, LAST, RunDir


@dataclass(frozen=True)
class Base:
    """What the checkpoint of a stack's member says of it beside its weights.

    Args:
        path: the checkpoint
        sha256: of its bytes
        info: what its data knows
        provenance: which samples it has seen, or that this is not known
        parameters: how many it has
        data: what `DataRecord.plain` says of the data that it was trained on; None if the checkpoint does not say
        reads: the batch's key for what it computes on
    """

    path: Path
    sha256: str
    info: DataInfo
    provenance: Provenance
    parameters: int
    data: dict[str, Any] | None = None
    reads: str = "image"


@contextmanager
def naming_damage(path: Path) -> Iterator[None]:
    """Name the checkpoint where its fields hold what nothing can be made of, whatever that led to.

    Args:
        path: of the checkpoint

    Raises:
        DamagedFileError: a mistake came up that is not told in words
    """
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise damaged(path, f"nothing can be made of what it holds: {reason}", way_out(path)) from error


def read_base(path: Path) -> Base:
    """Read what a checkpoint says of its classifier, without building it or reading its weights.

    Args:
        path: a checkpoint of `python train.py fit`

    Raises:
        FileNotFoundError: there is no such file
        ValueError: it does not hold a classifier on images, or is too old
    """
    checkpoint = read_checkpoint(path, mapped=True)
    refuse_stack(checkpoint, path)
    if "members" in checkpoint["architecture"]["init_args"]:
        raise ValueError(
            f"{path} holds a whole stack, whose head has seen samples of its own: name its members instead"
        )
    if "parameters" not in checkpoint:
        raise ValueError(f"{path} was written by an earlier version of this project: train its model again")
    with naming_damage(path):
        return Base(
            path,
            file_sha256(path),
            DataInfo.from_plain(checkpoint["architecture"]["init_args"]["data_info"]),
            # a copy, because the mapped tensors are lost with the file
            Provenance.from_plain(checkpoint.get("provenance"), str(path)),
            checkpoint["parameters"],
            checkpoint.get("data_record"),
            checkpoint.get("reads", "image"),
        )


def refuse_stack(checkpoint: dict[str, Any], path: Path) -> None:
    """Stop where a classifier on images is needed and a stack is given."""
    if "bases" in checkpoint:
        raise ValueError(f"{path} holds a stack; a stack's members are classifiers on images")


def read_checkpoint(path: Path, mapped: bool = False, digest: str | None = None) -> dict[str, Any]:
    """Load a checkpoint's content with every byte and field of it checked, and without running code from it.

    Args:
        path: the file
        mapped: read tensors only when they are looked at, from a file that must then not change
        digest: `file_sha256` of the file where it was checked before, which is compared in place of its checksums

    Raises:
        FileNotFoundError: there is no such file
        DamagedFileError: a byte was changed, or a field is missing
        ValueError: it is not one of ours
    """
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist")
    checkpoint = read_archive(path, mapped, digest)
    if not isinstance(checkpoint, dict) or "architecture" not in checkpoint:
        raise ValueError(f"{path} is not a checkpoint of this project: it does not say which model it holds")
    check_checkpoint(checkpoint, path, way_out(path))
    return checkpoint


def reads(path: Path) -> str:
    """Return what the model of a checkpoint computes on: image, table, or image for both.

    Args:
        path: of the checkpoint
    """
    return str(read_checkpoint(path, mapped=True).get("reads", "image"))


def refuse_lost_best(path: Path) -> Path:
    """Refuse to use the last epoch in place of a best one whose checkpoint is lost.

    Args:
        path: of the checkpoint that is used for a run: best.ckpt, or last.ckpt where validation has chosen none

    Returns:
        the same path

    Raises:
        FileNotFoundError: validation had chosen a best one
    """
    best = path.with_name(BEST)
    if path.name != LAST or best.is_file() or not path.is_file():
        return path
    states = read_checkpoint(path, mapped=True).get("callbacks", {})
    kept = [state.get("best_model_path") for name, state in states.items() if name.startswith("ModelCheckpoint")]
    if any(Path(str(file)).name == BEST for file in kept):
        raise FileNotFoundError(
            f"{best} is missing, though validation has chosen it: restore it, or train the run anew; {path} is another "
            f"epoch, and is used only if it is named itself"
        )
    return path


def find_base(base: str) -> Path:
    """Return the checkpoint that a member's name refers to.

    Args:
        base: a checkpoint, or a run folder

    Raises:
        FileNotFoundError: it is neither
    """
    path = Path(base)
    if path.is_dir():
        best, last = (path / "checkpoints" / name for name in (BEST, LAST))
        # without a validation split there is no best
        path = refuse_lost_best(last) if last.is_file() and not best.is_file() else best
    if not path.is_file():
        raise FileNotFoundError(f"member {path} does not exist: was it moved? Name its checkpoint with --model.bases")
    return path


def find_model(path: Path) -> Path:
    """Return the checkpoint of what a user names: a file, a run's folder, or a stack's folder.

    Args:
        path: of either

    Raises:
        FileNotFoundError: a folder holds no checkpoint
    """
    if not path.is_dir():
        return path
    weights = RunDir(path).weights
    if not weights.is_file():
        stacks = sorted(path.glob("*/checkpoints/stack.ckpt"))
        named = f", such as {stacks[0].parent.parent}" if stacks else ""
        raise FileNotFoundError(
            f"{path} holds no checkpoint: name a run's folder, a checkpoint or a stack's folder{named}"
        )
    return refuse_lost_best(weights)


def load_classifier(path: Path | str, digest: str | None = None) -> Classifier:
    """Rebuild a classifier from its checkpoint; see `load_model`.

    Raises:
        ValueError: it holds another model
    """
    model = load_model(path, digest)
    if not isinstance(model, Classifier):
        raise ValueError(f"{path} holds a {type(model).__name__}, which is not a classifier")
    return model


def load_model(path: Path | str, digest: str | None = None) -> Model:
    """Rebuild a model from its checkpoint, on the CPU and in evaluation mode.

    Args:
        path: a checkpoint of `python train.py fit`
        digest: see `read_checkpoint`

    Raises:
        FileNotFoundError: there is no such file
        ValueError: it does not hold a model, or its weights do not fit
    """
    path = Path(path)
    checkpoint = read_checkpoint(path, digest=digest)
    refuse_stack(checkpoint, path)
    with naming_damage(path):
        model = build_model(checkpoint["architecture"], str(path))
        check_kinds(checkpoint["state_dict"], model, path)
        try:
            model.load_state_dict(checkpoint["state_dict"])
        except RuntimeError as error:
            raise ValueError(f"{path}: the weights do not fit {type(model).__name__}: {error}") from error
        checkpoint["provenance"] = Provenance.from_plain(checkpoint.get("provenance"), str(path)).plain()
        model.on_load_checkpoint(checkpoint)
    return model.eval()


def build_classifier(architecture: dict[str, Any], where: str) -> Classifier:
    """Build a classifier that a checkpoint describes; see `build_model`.

    Raises:
        ValueError: it describes another model
    """
    model = build_model(architecture, where)
    if not isinstance(model, Classifier):
        raise ValueError(f"{where} holds a {type(model).__name__}, which is not a classifier of this project")
    return model


def build_model(architecture: dict[str, Any], where: str) -> Model:
    """Build the model that a checkpoint describes, with weights drawn at random.

    Args:
        architecture: a checkpoint's entry
        where: what to call its place in errors

    Raises:
        ValueError: it does not describe a model that is installed here and may be imported
    """
    architecture = class_paths.up_to_date(architecture)
    class_path, options = architecture["class_path"], dict(architecture["init_args"])
    try:
        model_class = class_paths.import_class(class_path)
    except class_paths.UntrustedNameError as error:
        raise class_paths.UntrustedNameError(f"{where}: {error}") from None
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{where} holds a {class_path}, which is not installed here") from error
    if not (isinstance(model_class, type) and issubclass(model_class, Model)):
        raise ValueError(f"{where} holds a {class_path}, which is not a model of this project")
    return model_class(**options | {"data_info": DataInfo.from_plain(options["data_info"])})
