"""What a search has tried: its spaces, and each trial with its values and what it reached."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from records.damaged import damaged
from records.fields import ANY, read_fields
from records.json_files import to_json
from records.whole_file import write_whole

NAME = "search.json"
WAY_OUT = "start the search's command again, which writes it anew"
STATES = ("complete", "pruned", "failed", "over", "running", "waiting")
SPACE = {"label": str, "log": bool, "choices": [str]}
TRIAL = {"number": int, "name": str, "state": str, "values": {ANY: str}}
FIELDS = {"metric": str, "maximize": bool, "method": str, "wanted": int, "spaces": [SPACE], "trials": [TRIAL]}


@dataclass(frozen=True)
class SearchSpace:
    """A space, as figures draw it.

    Args:
        label: its name
        log: whether its numbers are drawn on a logarithmic axis
        choices: its values where they are listed; none of numbers
    """

    label: str
    log: bool = False
    choices: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class SearchTrial:
    """A trial.

    Args:
        number: of the trial
        name: of its cell, or of what its cells' names begin with
        state: complete; pruned (ended early); failed; over (a limit, so it was not trained); running; or waiting
        values: by space, in words
        numbers: by space, of spaces of numbers
        value: of the metric, at the epoch that it keeps; None where it was not trained to its end
        last: of the metric, when it was ended early
        epochs: that were trained
        best_epoch: how many epochs the weights are from that it keeps
        seconds: of training
        parameters: of its model
        ms: that its model takes for an image; None where that was not measured
        same_as: the trial whose values it had drawn again
        why: it failed, or is over a limit
    """

    number: int
    name: str
    state: str
    values: dict[str, str]
    numbers: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    last: float | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    seconds: float | None = None
    parameters: int | None = None
    ms: float | None = None
    same_as: int | None = None
    why: str = ""


@dataclass(frozen=True)
class SearchFile:
    """A search as `sweep` ran it.

    Args:
        metric: by which trials are compared, such as val/accuracy
        maximize: whether more is better
        method: how values were drawn and trials ended early, in words
        wanted: how many trials were to be trained
        spaces: what was drawn
        trials: in their order
        limits: what a model must keep to, by name
        importances: share of the metric's variance that each space explains; empty where too few trials tell
        repeats: what the value of a trial is the mean over, such as seed
        best: number of the best trial; None where none is complete
        refit: name of the run that was trained with its values on all images; None where there is none
        fragment: file of its values, beside this one; None where there is none
    """

    metric: str
    maximize: bool
    method: str
    wanted: int
    spaces: list[SearchSpace]
    trials: list[SearchTrial]
    limits: dict[str, float] = field(default_factory=dict)
    importances: dict[str, float] = field(default_factory=dict)
    repeats: list[str] = field(default_factory=list)
    best: int | None = None
    refit: str | None = None
    fragment: str | None = None

    def write(self, folder: Path) -> None:
        """Write it into the folder of an experiment."""
        with write_whole(folder / NAME) as partial:
            partial.write_text(to_json(asdict(self)))

    @classmethod
    def read(cls, folder: Path) -> "SearchFile | None":
        """Read it from the folder of an experiment; None where there is none.

        Raises:
            DamagedFileError: it is not what was written
        """
        path = folder / NAME
        if (found := read_fields(path, FIELDS, WAY_OUT)) is None:
            return None
        known: dict[str, Any] = {name: found.get(name) for name in cls.__dataclass_fields__}
        try:
            known["spaces"] = [SearchSpace(**each) for each in found["spaces"]]
            known["trials"] = [SearchTrial(**each) for each in found["trials"]]
        except TypeError as error:
            raise damaged(path, str(error), WAY_OUT) from error
        return cls(**known)

    @property
    def best_trial(self) -> SearchTrial | None:
        """The best trial; None where none is complete."""
        return next((trial for trial in self.trials if trial.number == self.best), None)
