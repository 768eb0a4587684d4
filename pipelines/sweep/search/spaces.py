"""Spaces of a search: options with the values that trials draw from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.few import few
from common.spelling import nearest
from pipelines.sweep.axes import Axis, Value, label_of

NUMERIC = ("low", "high", "log", "step")
KEYS = ("choices", *NUMERIC)
# what the example of a message shows
EXAMPLE = "{low: 0.0001, high: 0.1, log: true}, {low: 50, high: 200, step: 10} or {choices: [a, b]}"


@dataclass(frozen=True)
class Space:
    """One option, or several that go along with each other, and what it is drawn from.

    Args:
        name: the option, or a word for choices with names
        choices: the values, where they are listed
        low: lowest number, where it is drawn from a range
        high: highest number, which may be drawn too
        log: whether each factor is as likely as another
        step: between two numbers; None where there is none
    """

    name: str
    choices: Axis | None = None
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None

    @classmethod
    def of(cls, name: str, given: Any) -> "Space":
        """Read a space as a plan gives it.

        Args:
            name: of the space
            given: a mapping with low and high, and perhaps log or step; or with choices; or a list of these

        Raises:
            ValueError: it is something else
        """
        where = f"search.spaces: {name}"
        if isinstance(given, Sequence) and not isinstance(given, str):
            given = {"choices": given}
        if not isinstance(given, Mapping):
            raise ValueError(f"{where} takes {EXAMPLE}, not {given!r}")
        if other := next((key for key in given if key not in KEYS), None):
            raise ValueError(f"{where} takes {EXAMPLE}; it has no {other!r}{nearest(str(other), KEYS)}")
        if "choices" in given:
            if beside := next((key for key in given if key != "choices"), None):
                raise ValueError(f"{where}: choices and {beside} cannot be given together")
            return cls(name, _choices(name, given["choices"]))
        numbers = {key: given.get(key) for key in ("low", "high", "step")}
        for key, value in numbers.items():
            missing = value is None and key != "step"
            if missing or isinstance(value, bool | str | list | Mapping) or not math.isfinite(value or 0):
                raise ValueError(f"{where}: {key} takes a number, not {value!r}")
        log = given.get("log", False)
        if not isinstance(log, bool):
            raise ValueError(f"{where}: log takes true or false, not {log!r}")
        space = cls(name, None, given["low"], given["high"], log, numbers["step"])
        space._check(where)
        return space

    def _check(self, where: str) -> None:
        if not self.low < self.high:
            raise ValueError(f"{where}: low {self.low} must be below high {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"{where}: log true needs low above 0, not {self.low}")
        if self.step is None:
            return
        if self.log:
            raise ValueError(f"{where}: log and step cannot be given together")
        if self.step <= 0:
            raise ValueError(f"{where}: step must be above 0, not {self.step}")
        steps = (self.high - self.low) / self.step
        if abs(steps - round(steps)) > 1e-6 * max(1.0, steps):
            below = label_of(self._at(math.floor(steps)))
            raise ValueError(f"{where}: high {self.high} is no whole number of steps from low: {below} is")

    @property
    def whole(self) -> bool:
        """Whether whole numbers alone are drawn: all that the plan gives are."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step or 0))

    @property
    def count(self) -> int | None:
        """How many values there are; None where there is no end to them."""
        if self.choices is not None:
            return len(self.choices.values)
        step = self.step or (1 if self.whole else None)
        return None if step is None else round((self.high - self.low) / step) + 1

    def grid(self) -> list[Any]:
        """Return all values that may be drawn, as Optuna knows them.

        Raises:
            ValueError: there is no end to them
        """
        if self.choices is not None:
            return [value.label for value in self.choices.values]
        if self.count is None:
            raise ValueError(f"search.spaces: {self.name} needs a step, or choices, for a grid")
        return [self._at(number) for number in range(self.count)]

    def ends(self) -> list[Any]:
        """Return the values that are looked at before anything runs: each choice, or lowest and highest number."""
        return self.grid() if self.choices is not None else [self.low, self.high]

    def value(self, drawn: Any) -> Value:
        """Return what a trial sets.

        Args:
            drawn: as Optuna knows it: a number, or the label of a choice
        """
        if self.choices is None:
            return Value(self.label(drawn), (), {self.name: drawn})
        return next(value for value in self.choices.values if value.label == drawn)

    def label(self, drawn: Any) -> str:
        """Return how tables name a value: a number to four digits."""
        return f"{drawn:.4g}" if isinstance(drawn, float) else label_of(drawn)

    def spoken(self) -> str:
        """Say what is drawn from.

        Example:
            >>> Space("a", None, 1, 9, step=2).spoken(), Space("b", None, 0.1, 1.0, log=True).spoken()
            ('1 to 9 by 2', '0.1 to 1 (log)')
        """
        if self.choices is not None:
            return few(self.grid(), 12)
        by = f" by {label_of(self.step)}" if self.step is not None else ""
        return f"{self.label(self.low)} to {self.label(self.high)}{by}{' (log)' if self.log else ''}"

    def plain(self) -> dict[str, Any]:
        """Return what tells it from another space, of plain types."""
        if self.choices is None:
            return {"low": self.low, "high": self.high, "log": self.log, "step": self.step}
        return {"choices": [[value.label, list(value.fragments), value.options] for value in self.choices.values]}

    def _at(self, number: int) -> float:
        step = self.step or 1
        if self.whole:
            return int(self.low) + number * int(step)
        # as Optuna rounds it
        return float(round(self.low + number * step, 12))


def _choices(name: str, given: Any) -> Axis:
    try:
        return Axis.of(name, given)
    except ValueError as error:
        raise ValueError(str(error).replace("axes: ", "search.spaces: ", 1)) from error
