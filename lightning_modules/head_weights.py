"""Weights that a head starts from: found in a file of a whole network."""

from collections.abc import Sequence

from torch import Tensor, nn

from lightning_modules.weights import HEAD, Weights, oddity, some


def found_head(weights: Weights, head: nn.Module, class_names: Sequence[str]) -> dict[str, Tensor]:
    """Find weight and bias of a head among weights: their one linear layer that is named as classifiers are.

    Args:
        weights: of a whole network
        head: the linear layer that is to have them
        class_names: of the data, in label order

    Returns:
        weight and bias by their names in the file

    Raises:
        ValueError: there are none that fit, or they are of other classes
    """
    named = weights.head or {name: t for name, t in weights.tensors.items() if HEAD.match(name)}
    layers = [name.removesuffix(".weight") for name, t in named.items() if t.ndim == 2 and name.endswith(".weight")]
    found = {name: named[name] for layer in layers for name in (f"{layer}.weight", f"{layer}.bias") if name in named}
    if len(layers) != 1 or len(found) != 2:
        raise ValueError(
            f"--model.weights_head true needs a classifier of one linear layer, and {weights.source} has "
            f"{len(layers) or 'none'}{f' ({some(layers)})' if layers else ''}: leave weights_head out"
        )
    classes, count = len(next(iter(found.values()))), len(class_names)
    if classes != count:
        raise ValueError(
            f"--model.weights_head true: the head in {weights.source} is for {classes} classes, and the data has "
            f"{count}: leave weights_head out, and a new head is trained"
        )
    if weights.class_names is not None and weights.class_names != list(class_names):
        raise ValueError(
            f"--model.weights_head true: the head in {weights.source} is for the classes {some(weights.class_names)}, "
            f"and the data has {some(list(class_names))}: leave weights_head out, and a new head is trained"
        )
    for (name, tensor), wanted in zip(found.items(), head.state_dict().values(), strict=True):
        shape = tuple(wanted.shape)
        odd = oddity(tensor, wanted) or (f"is {tuple(tensor.shape)}, and must be {shape}" * (tensor.shape != shape))
        if odd:
            raise ValueError(f"--model.weights_head true: {name} in {weights.source} {odd}")
    return found
