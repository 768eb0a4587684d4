"""Weights that a run starts from: read safely, matched to a backbone, and refused where they do not fit."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn

from datamodules.provenance import Provenance
from lightning_modules.checkpoint_fields import check_checkpoint, other_kind
from lightning_modules.checkpoint_io import file_sha256, is_legacy, read_archive, way_out
from lightning_modules.families.timm_backbones import pretrained_network, pretrained_origin, pretrained_statistics
from records.damaged import DamagedFileError
from records.fields import check_fields
from records.tensor_files import read_tensors

PICKLED = frozenset({".pt", ".pth", ".ckpt", ".bin"})
WRAPPERS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
HEAD = re.compile(r"(_?fc|classifier|head|heads|last_linear)\.")
# what every classifier's checkpoint has beside its backbone
NORMALIZED = {"preprocessing.mean": Tensor, "preprocessing.std": Tensor}
# what torchvision builds its EfficientNetV2 with
TORCHVISION_V2_EPS = 1e-3
# how many tensors a message names
NAMED = 4


@dataclass(frozen=True, eq=False)
class Weights:
    """Tensors by name, and what is known of them.

    Args:
        source: what to call them in messages
        tensors: by name, in the order in which the network holds them
        provenance: which samples they were fitted and selected on, or that this is not known
        ordered: whether that order is known
        statistics: mean and standard deviation of each channel that images were normalised by, on the scale [0, 1]
        head: tensors of the head by name, where they are kept apart from the backbone's
        class_names: what the head's classes are called, in their order; None if that is not known
    """

    source: str
    tensors: dict[str, Tensor]
    provenance: Provenance
    ordered: bool = True
    statistics: tuple[list[float], list[float]] | None = None
    head: Mapping[str, Tensor] = field(default_factory=dict)
    class_names: list[str] | None = None


def initial_weights(
    path: str | None,
    pretrained: bool,
    timm_name: str | None,
    timm_options: Mapping[str, Any],
    model: str = "this model",
) -> Weights | None:
    """Read the weights that the options `weights` and `pretrained` name.

    Args:
        path: a file, or None
        pretrained: take timm's
        timm_name: timm's name of the architecture, or None if it is not one of timm's
        timm_options: keyword arguments that timm builds it with
        model: the class of the model, for messages

    Raises:
        FileNotFoundError: there is no such file
        OSError: timm cannot get its weights
        ValueError: both are given, or timm has none, or the file does not hold weights
    """
    if path is not None and pretrained:
        raise ValueError("--model.weights and --model.pretrained both say where to start from: use one")
    if path is not None:
        return read_weights(Path(path), timm_name)
    if not pretrained:
        return None
    if timm_name is None:
        raise ValueError(
            f"--model.pretrained: {model} does not say which architecture of timm its backbone is, so no weights are "
            f"known to fit: name it in the class's property timm_name if it is one, or use --model.weights FILE"
        )
    network = pretrained_network(timm_name, timm_options)
    record = Provenance.of(published=[f"ImageNet ({pretrained_origin(timm_name)})"])
    statistics = pretrained_statistics(timm_name)
    return Weights(f"timm's {timm_name}", dict(network.state_dict()), record, statistics=statistics)


def read_weights(path: Path, timm_name: str | None = None) -> Weights:
    """Read a file of weights without running code from it.

    Args:
        path: `.safetensors`, or a state dict saved by torch, perhaps wrapped; or a checkpoint of this project
        timm_name: timm's name of the architecture that the weights are for, which says how images were normalised

    Raises:
        FileNotFoundError: there is no such file
        ValueError: it does not hold weights, or holds more than can be loaded safely
    """
    if path.is_dir():
        raise ValueError(
            f"--model.weights {path} is a folder: name a file, as {path / 'checkpoints/best.ckpt'} of a run"
        )
    if not path.is_file():
        raise FileNotFoundError(f"--model.weights {path}: there is no such file")
    content = read_content(path)
    if "architecture" in content and "state_dict" in content:
        return from_checkpoint(content, path)
    while wrapper := next((name for name in WRAPPERS if isinstance(content.get(name), Mapping)), None):
        content = content[wrapper]
    tensors = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ValueError(f"--model.weights {path}: it holds no tensors by name, but {', '.join(map(str, content))}")
    statistics = pretrained_statistics(timm_name) if timm_name is not None else None
    # torchvision's scale of a ConvNeXt layer comes in the shape (channel, 1, 1)
    tensors = {name: t.flatten() if name.endswith(".layer_scale") else t for name, t in tensors.items()}
    # safetensors sorts them by name
    record = Provenance.of(unknown=[str(path)])
    return Weights(str(path), without_prefixes(tensors), record, path.suffix != ".safetensors", statistics)


def read_content(path: Path) -> Mapping[str, Any]:
    """Return what a file holds by name."""
    if path.suffix == ".safetensors":
        try:
            tensors, checked = read_tensors(path, "copy it again from where it is whole")
        except DamagedFileError as error:
            raise DamagedFileError(f"--model.weights {error}") from error
        if not checked:
            say_digest(path)
        return tensors
    if path.suffix not in PICKLED:
        raise ValueError(f"--model.weights {path}: it must end in .safetensors or {', '.join(sorted(PICKLED))}")
    try:
        content = read_archive(path)
    except ValueError as error:
        raise type(error)(f"--model.weights {error}") from error
    if is_legacy(path):
        say_digest(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"--model.weights {path}: it holds a {type(content).__name__}, not tensors by name")
    return content


def say_digest(path: Path) -> None:
    """Name what a file can be compared by that has no checksum, so that damage in it would not be seen."""
    rank_zero_info(f"weights: {path} has no checksum to look at; its SHA-256 is {file_sha256(path)}")


def from_checkpoint(checkpoint: Mapping[str, Any], path: Path) -> Weights:
    """Take backbone and head out of a checkpoint of this project, with normalisation and what they were fitted on."""
    if "bases" in checkpoint:
        raise ValueError(
            f"--model.weights {path} holds a stack, which has no backbone: name the checkpoint of a member"
        )
    check_checkpoint(checkpoint, f"--model.weights {path}", way_out(path))
    state, record = checkpoint["state_dict"], Provenance.from_plain(checkpoint.get("provenance"), str(path))
    tensors = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
    check_fields(state, NORMALIZED, f"--model.weights {path}", way_out(path))
    mean, std = (state[f"preprocessing.{name}"].flatten().tolist() for name in ("mean", "std"))
    head = {name: t for name, t in state.items() if name.startswith("head.")}
    names = checkpoint["architecture"]["init_args"]["data_info"]["class_names"]
    return Weights(str(path), tensors, record, True, (mean, std), head, names)


def without_prefixes(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip prefixes that all names share, or all but those of a head.

    Example:
        >>> list(without_prefixes({"module.model.conv1.weight": Tensor([1]), "module.model.fc.bias": Tensor([1])}))
        ['conv1.weight', 'fc.bias']
    """
    while prefix := next((p for p in PREFIXES if is_shared(p, tensors)), None):
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors


def is_shared(prefix: str, names: Collection[str]) -> bool:
    """Tell whether all names start with a prefix, but for those of a head."""
    return any(n.startswith(prefix) for n in names) and all(n.startswith(prefix) or HEAD.match(n) for n in names)


# matching


def load_weights(
    backbone: nn.Module, weights: Weights, not_transferred: Collection[str] = (), head: Collection[str] = ()
) -> tuple[str, set[str]]:
    """Load a backbone's weights by name and shape, or by order and shape where no name is the same.

    Args:
        backbone: from images to embeddings
        weights: what to load
        not_transferred: children of the backbone that need not be among them
        head: names of those that the head is given

    Returns:
        what was loaded and what was not, for the user; and the names of the backbone's tensors that were loaded

    Raises:
        ValueError: something else that the backbone needs is missing or has another shape, or they hold more of it
            than it needs
    """
    target: dict[str, Tensor] = backbone.state_dict()
    stem = next((f"{name}.weight" for name, m in backbone.named_modules() if isinstance(m, nn.Conv2d)), "")
    counted = any(name.endswith("num_batches_tracked") for name in weights.tensors)
    # torch counted no batches in old files
    needed = {n: t for n, t in target.items() if counted or not n.endswith("num_batches_tracked")}
    optional = {n for n in needed if n.partition(".")[0] in not_transferred}
    named = any(n in weights.tensors for n in needed)
    found = (
        weights.tensors
        if named or not needed
        else by_order(backbone, [n for n in needed if n not in optional], weights)
    )
    loaded: dict[str, Tensor] = {}
    wrong: list[str] = []
    fresh: list[str] = []
    for name, tensor in needed.items():
        given = found.get(name)
        fitted = fit(given, tensor, name == stem) if given is not None else None
        odd = oddity(given, tensor) if given is not None else ""
        if odd:
            wrong.append(f"{name} {odd}")
        elif fitted is not None:
            loaded[name] = fitted
        elif name in optional or (given is not None and name == stem and len(given) == len(tensor)):
            fresh.append(name)
        else:
            shape = tuple(tensor.shape)
            wrong.append(f"{name} is {'missing' if given is None else tuple(given.shape)}, and must be {shape}")
    if not needed:
        raise ValueError(
            f"{weights.source}: this model's backbone has no weights to start from, and a head is always new: leave "
            f"--model.weights out"
        )
    taken = {id(found[name]) for name in loaded}
    left = [name for name, tensor in weights.tensors.items() if id(tensor) not in taken]
    children = {name for name, _ in backbone.named_children()}
    surplus = [n for n in left if n not in fresh and not HEAD.match(n) and n.partition(".")[0] in children]
    wrong += [f"{name} is not in this network" for name in surplus]
    if wrong:
        unordered = "" if named or weights.ordered else " (safetensors keep no order to match other names by)"
        raise ValueError(
            f"{weights.source} does not fit this network: {len(loaded)} of the {len(needed)} tensors of its backbone "
            f"fitted{unordered}, but {some(wrong, '; ')}"
        )
    backbone.load_state_dict(loaded, strict=False)
    new = list(dict.fromkeys([name.partition(".")[0] if name in optional else name for name in fresh]))
    left = [name for name in left if name not in head]
    told = (
        f"weights: {len(loaded)} of {len(needed)} tensors of the backbone{' and the head' if head else ''} from "
        f"{weights.source}; left out of it: {some(left) or 'nothing'}; new here: "
        f"{', '.join(new if head else [*new, 'head']) or 'nothing'}"
    )
    return told, set(loaded)


def oddity(given: Tensor, wanted: Tensor) -> str:
    """Say why a tensor is no weight to start from, whatever its shape; nothing if it is one."""
    if other := other_kind(given, wanted):
        return other
    return "holds values that are NaN or infinite" if not given.float().isfinite().all() else ""


def by_order(backbone: nn.Module, needed: list[str], weights: Weights) -> dict[str, Tensor]:
    """Pair tensors with a backbone's by their order, where both have as many; what follows must be a head's.

    Args:
        backbone: from images to embeddings
        needed: names of the tensors that it needs, in order
        weights: named in another way

    Returns:
        the tensors by the backbone's names; nothing if they are not those of the same network

    Raises:
        ValueError: they are those of a network that differs in what shapes do not show
    """
    given = list(weights.tensors.items())
    body, rest = given[: len(needed)], given[len(needed) :]
    if not weights.ordered or len(body) < len(needed) or not all(HEAD.match(name) for name, _ in rest):
        return {}
    if any(last(name) != last(ours) for (name, _), ours in zip(body, needed, strict=True)):
        return {}
    # both ports of TensorFlow's networks pad as it does; torchvision's do not
    pads = any(type(module).__name__ == "Conv2dSame" for module in backbone.modules())
    if (pads and body[0][0].startswith("features.")) or (not pads and body[0][0].startswith("_conv_stem.")):
        theirs, ours = ("evenly", "as TensorFlow does") if pads else ("as TensorFlow does", "evenly")
        raise ValueError(
            f"{weights.source} does not fit this network: its convolutions pad {theirs}, and those here pad {ours}, so "
            f"that they compute something else from the same weights (EfficientNet has "
            f"--model.variant v2_s_torchvision)"
        )
    # the first block of torchvision's V2 is not depthwise
    block = weights.tensors.get("features.1.0.block.0.0.weight")
    eps = {module.eps for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)}
    if block is not None and block.shape[1] > 1 and eps and eps != {TORCHVISION_V2_EPS}:
        raise ValueError(
            f"{weights.source} does not fit this network: the BatchNorms of torchvision's EfficientNetV2 have an eps "
            f"of {TORCHVISION_V2_EPS}, and those here have {min(eps)}: set --model.options '{{bn_eps: 0.001}}', or use "
            f"--model EfficientNet --model.variant v2_s_torchvision"
        )
    return {ours: tensor for ours, (_, tensor) in zip(needed, body, strict=True)}


def last(name: str) -> str:
    """Return the last component of a name, as timm calls it."""
    component = name.rpartition(".")[2]
    return "gamma" if component == "layer_scale" else component


def fit(given: Tensor, wanted: Tensor, is_stem: bool) -> Tensor | None:
    """Return a tensor in the wanted shape, or None; a first convolution is adapted to other input channels."""
    if given.shape == wanted.shape:
        return given
    if not is_stem or given.ndim != 4 or (given.shape[0], *given.shape[2:]) != (wanted.shape[0], *wanted.shape[2:]):
        return None
    # slow to import, and not every model needs it
    from timm.models import adapt_input_conv

    try:
        return adapt_input_conv(wanted.shape[1], given, base_chans=given.shape[1])
    except NotImplementedError:
        return None


def some(names: list[str], separator: str = ", ") -> str:
    """Name the first few."""
    more = f"{separator}and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + more
