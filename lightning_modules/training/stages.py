"""The stages of a backbone, from its input to its embedding."""

from torch import nn

# children that hold a stage each, rather than being one
CONTAINERS = frozenset({"blocks", "stages", "features"})
NORMALISATIONS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


def stages(backbone: nn.Module) -> dict[str, list[nn.Module]]:
    """Divide a backbone into stages, so that each of its parameters is in exactly one.

    Args:
        backbone: from images to embeddings

    Returns:
        the modules of each stage by its name, from input to embedding: children with parameters, and those of
        `blocks`, `stages` and `features`, such as `stages.1`. A normalisation belongs to the stage before it. A
        backbone that is a single layer, or holds parameters beside its children, is one stage named `backbone`.
    """
    found: dict[str, list[nn.Module]] = {}
    if next(backbone.parameters(recurse=False), None) is not None:
        return {"backbone": [backbone]}
    for name, part in parts(backbone):
        if found and is_normalisation(part):
            found[next(reversed(found))].append(part)
        elif next(part.parameters(), None) is not None:
            found[name] = [part]
    return found


def parts(backbone: nn.Module) -> list[tuple[str, nn.Module]]:
    """List a backbone's children by name, with the children of containers in their place."""
    listed: list[tuple[str, nn.Module]] = []
    for name, child in backbone.named_children():
        if name in CONTAINERS and isinstance(child, nn.Sequential):
            listed += [(f"{name}.{inner}", part) for inner, part in child.named_children()]
        else:
            listed.append((name, child))
    return listed


def is_normalisation(part: nn.Module) -> bool:
    """Tell whether a module has parameters and all of them belong to normalisations."""
    holders = [m for m in part.modules() if next(m.parameters(recurse=False), None) is not None]
    return bool(holders) and all(isinstance(m, NORMALISATIONS) for m in holders)
