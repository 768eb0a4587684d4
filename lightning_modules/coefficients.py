"""Coefficients of a linear model of a table, in the units of its columns."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from datamodules.table_info import Column, TableInfo


def coefficients(weight: Tensor, bias: Tensor, table: TableInfo, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Take the standardisation out of the weights of a linear model.

    A category's coefficient is the difference to the first category of its column. Of two classes they are those of the
    log-odds of the second one; of more, those of each class less the mean of all, as only differences count.

    Args:
        weight: on the scale of the training, numbers before categories, shape `(output, dim)`
        bias: shape `(output,)`
        table: the columns, and the target where that is a number
        class_names: the name of each class, where it is none

    Returns:
        for each output `of` (what it is), `intercept`, and `columns`: a coefficient for each number, and each category
    """
    weight, bias = weight.detach().double().cpu(), bias.detach().double().cpu()
    if table.target is not None:
        weight, bias = weight * table.target.std, bias * table.target.std + table.target.mean
        names = [table.target.name]
    elif len(class_names) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
        names = [f"log-odds of {class_names[1]}"]
    else:
        weight, bias = weight - weight.mean(0), bias - bias.mean()
        names = [f"logit of {name}" for name in class_names]
    outputs = zip(names, weight.tolist(), bias.tolist(), strict=True)
    return [{"of": name, **_of_output(row, start, table.columns)} for name, row, start in outputs]


def _of_output(weights: list[float], intercept: float, columns: Sequence[Column]) -> dict[str, Any]:
    found: dict[str, float] = {}
    left = iter(weights)
    for column in columns:
        if column.is_number:
            found[column.name] = next(left) / column.std
            intercept -= found[column.name] * column.mean
    for column in columns:
        own = [next(left) for _ in column.categories]
        if own:
            intercept += own[0]
            found |= {f"{column.name}={text}": w - own[0] for text, w in zip(column.categories, own, strict=True)}
    return {"intercept": intercept, "columns": found}


def equation(found: dict[str, Any]) -> str:
    """Write the coefficients of an output in a line.

    Example:
        >>> equation({"of": "price", "intercept": 200.0, "columns": {"area": 0.1, "rooms": -2.0}})
        'price = 200 + 0.1 area - 2 rooms'
    """
    terms = [
        f"{'-' if value < 0 else '+'} {abs(value):.4g} {name}" for name, value in found["columns"].items() if value
    ]
    return " ".join([f"{found['of']} = {found['intercept']:.4g}", *terms])
