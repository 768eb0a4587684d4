"""What LiteRT's interpreter tells of its operations under a private name."""

from typing import Any


def operations(interpreter: Any) -> list[tuple[list[int], list[int]]]:
    """Return the tensors that each operation of a graph reads and writes, in order.

    Args:
        interpreter: of ai-edge-litert, without a delegate
    """
    found = interpreter._get_ops_details()
    return [([int(i) for i in op["inputs"]], [int(i) for i in op["outputs"]]) for op in found]
