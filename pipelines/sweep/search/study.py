"""The trials of a search, kept by Optuna: several processes take them from one file, and none is lost with its process.

A trial that runs belongs to the process that holds its lock. The lock of a process that was killed is free, so another
one takes the trial up again.
"""

import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from common.few import few
from pipelines.cells.folder import CellError
from pipelines.cells.settings import changed
from pipelines.sweep.search.options import SearchOptions
from pipelines.sweep.search.spaces import Space
from records.locks import claimed, one_at_a_time

if TYPE_CHECKING:
    from filelock import FileLock
    from optuna import Study, Trial
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.storages import BaseStorage
    from optuna.trial import FrozenTrial

FOLDER = "search"
JOURNAL, SQLITE = "study.journal", "study.sqlite"
NAME = "search"
# seconds that a process waits for another one that writes
TIMEOUT = 60
# what is kept beside a trial: the cell that it goes on with, how far it is beyond limits, and what it costs
CELL, OVER, COSTS, WHY, SAME = "cell", "over", "costs", "why", "same_as"
PLAN = "plan"


def import_optuna() -> Any:
    """Return Optuna, which says nothing of its own.

    Raises:
        ValueError: it is not installed
    """
    try:
        import optuna
    except ImportError as error:
        raise ValueError(f"search needs the extra search: pip install 'francesinha[search]' ({error})") from error
    optuna.logging.set_verbosity(logging.ERROR)
    return optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Leave out Optuna's notices on what is experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@dataclass(eq=False)
class Taken:
    """A trial that this process has taken.

    Args:
        trial: Optuna's
        name: of its cell
        drawn: its values by space, as Optuna knows them
        again: whether another process had begun it
    """

    trial: "Trial"
    name: str
    drawn: dict[str, Any]
    again: bool = False

    @property
    def number(self) -> int:
        """Its number in the study."""
        return int(self.trial.number)


class SearchStudy:
    """The trials of a search.

    Args:
        folder: the experiment's
        options: of the search
        maximize: whether more of the metric is better
        epochs: that a trial is trained for at most; None where that is not known
    """

    def __init__(self, folder: Path, options: SearchOptions, maximize: bool, epochs: int | None = None) -> None:
        self.folder, self.options, self.epochs = folder / FOLDER, options, epochs
        self.maximize = maximize
        self.folder.mkdir(parents=True, exist_ok=True)
        self.optuna = import_optuna()
        # the locks of the trials that this process has taken, by number
        self.mine: dict[int, FileLock] = {}
        direction = "maximize" if maximize else "minimize"
        with self._alone():
            self.storage = self._open()
            self.study: Study = self.optuna.create_study(
                storage=self.storage,
                study_name=NAME,
                direction=direction,
                load_if_exists=True,
                pruner=self._pruner(),
            )

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Tell whether an experiment has one.

        Args:
            folder: the experiment's
        """
        return any((folder / FOLDER / name).is_file() for name in (JOURNAL, SQLITE))

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Note what is searched, and put trials into the queue: those of a grid, and those that failed.

        Args:
            plan: settings that must stay as they are, flat

        Raises:
            CellError: the study has others
        """
        with self._alone():
            # it keeps lists, and no tuples
            known = self.study.user_attrs.get(PLAN)
            if known is not None and (changes := changed(known, plan)):
                raise CellError(
                    f"the search in {self.folder.parent}/ has other settings: {few(changes, 4, '; ')}. Search anew in "
                    f"another folder by --experiment OTHER or --fresh true"
                )
            if known is None:
                self.study.set_user_attr(PLAN, dict(plan))
            trials = self.trials()
            if self.options.sampler == "grid":
                there = [drawn_of(trial) for trial in trials]
                for drawn in self.options.grid():
                    if drawn not in there:
                        self.study.enqueue_trial(drawn)
            newest = {name_of(trial): trial for trial in trials}
            for name, trial in newest.items():
                if trial.state.name == "FAIL" and trial.params:
                    self.study.enqueue_trial(trial.params, user_attrs={CELL: name})

    def trials(self) -> "list[FrozenTrial]":
        """Return all trials, in their order."""
        return self.study.get_trials(deepcopy=False)

    def take(self) -> Taken | None:
        """Take a trial: one that a process has left, or the next one of the queue, or one that is drawn.

        Returns:
            the trial; None where there is none now, see `is_over`
        """
        with self._alone(), quiet():
            trials = self.trials()
            for found in trials:
                if found.state.name == "RUNNING" and found.number not in self.mine:
                    claim = claimed(self._claim(found.number))
                    if claim is not None:
                        return self._taken(self._trial(found.number), claim, again=True)
            if not any(trial.state.name == "WAITING" for trial in trials) and self.left(trials) < 1:
                return None
            # no two trials are drawn with the same seed, whichever process draws them, and after whichever stop
            self.study.sampler = self._sampler(len(trials))
            trial = self.study.ask()
            claim = claimed(self._claim(trial.number))
            assert claim is not None
            return self._taken(trial, claim)

    def left(self, trials: "Sequence[FrozenTrial]") -> int:
        """Say how many trials are yet to be drawn; those beyond a limit, which are not trained, do not count."""
        if self.options.sampler == "grid":
            return 0
        names = {name_of(trial) for trial in trials if not is_beyond(trial)}
        beyond = sum(map(is_beyond, trials))
        if beyond >= max(100, 10 * self.options.wanted) and len(names) < self.options.wanted:
            raise CellError(
                f"{beyond:,} of {len(trials):,} trials are beyond the limits of the search, so no more are drawn: "
                f"{spoken(self.options.limits())} leave too little of the spaces"
            )
        return self.options.wanted - len(names)

    def is_over(self) -> bool:
        """Tell whether all trials have ended, those of other processes too."""
        trials = self.trials()
        open_ones = any(trial.state.name in ("RUNNING", "WAITING") for trial in trials)
        return not open_ones and self.left(trials) < 1

    def report(self, taken: Taken, values: Mapping[int, float]) -> bool:
        """Note what a trial has reached.

        Args:
            taken: the trial
            values: by finished epochs; those that are known already are left out

        Returns:
            whether it is to be ended early
        """
        with self._alone(), quiet():
            known = self.trials()[taken.number].intermediate_values
            for step, value in sorted(values.items()):
                if step not in known:
                    taken.trial.report(value, step)
            # others may have ended since it was asked last
            warm = max((*known, *values), default=0) >= max(1, self.options.warmup)
            return self.options.pruner != "none" and warm and taken.trial.should_prune()

    def note(self, taken: Taken, facts: Mapping[str, Any]) -> None:
        """Keep facts beside a trial."""
        with self._alone():
            for name, fact in facts.items():
                taken.trial.set_user_attr(name, fact)

    def tell(self, taken: Taken, state: str, facts: Mapping[str, Any], value: float | None = None) -> None:
        """End a trial.

        Args:
            taken: the trial
            state: COMPLETE, PRUNED or FAIL
            facts: what to keep beside it
            value: that it has reached
        """
        with self._alone(), quiet():
            # for the limits that its sampler is told
            self.study.sampler = self._sampler(taken.number)
            for name, fact in facts.items():
                if fact is not None:
                    taken.trial.set_user_attr(name, fact)
            self.study.tell(taken.trial, value, state=self.optuna.trial.TrialState[state])
            self.release(taken)
            self._claim(taken.number).unlink(missing_ok=True)

    def release(self, taken: Taken) -> None:
        """Leave a trial to the next process."""
        self.mine.pop(taken.number).release()

    def importances(self) -> dict[str, float]:
        """Return how much each space matters for the metric, the most important first; nothing where too few tell."""
        ended = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        spaces = [space.name for space in self.options.all_spaces]
        varied = [name for name in spaces if len({trial.params.get(name) for trial in ended}) > 1]
        if len(ended) < 4 or not varied or len({trial.value for trial in ended}) < 2:
            return {}
        with quiet():
            evaluator = self.optuna.importance.FanovaImportanceEvaluator(seed=0)
            found = self.optuna.importance.get_param_importances(self.study, evaluator=evaluator, params=varied)
        return {name: float(share) for name, share in found.items()}

    def _taken(self, trial: "Trial", claim: "FileLock", again: bool = False) -> Taken:
        self.mine[trial.number] = claim
        # of one that was left while its values were drawn, the others are drawn now
        drawn = {space.name: draw(trial, space) for space in self.options.all_spaces}
        return Taken(trial, trial.user_attrs.get(CELL) or cell_name(trial.number), drawn, again)

    def _claim(self, number: int) -> Path:
        return self.folder / f"{cell_name(number)}.lock"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with one_at_a_time(self.folder / "study.lock"):
            mend(self.folder / JOURNAL)
            yield

    def _trial(self, number: int) -> "Trial":
        """Return a trial that another process has begun."""
        place = self.storage.get_study_id_from_name(NAME)
        return self.optuna.trial.Trial(self.study, self.storage.get_trial_id_from_study_id_trial_number(place, number))

    def _open(self) -> "BaseStorage":
        storages = self.optuna.storages
        if self.options.storage == "sqlite":
            address = f"sqlite:///{(self.folder / SQLITE).absolute()}"
            return storages.RDBStorage(address, engine_kwargs={"connect_args": {"timeout": TIMEOUT}})
        backend = storages.journal.JournalFileBackend(str(self.folder / JOURNAL), lock_obj=_NoLock())
        return storages.JournalStorage(backend)

    def _sampler(self, number: int) -> "BaseSampler":
        seed = int(np.random.SeedSequence([self.options.seed, number]).generate_state(1)[0])
        samplers = self.optuna.samplers
        if self.options.sampler != "tpe":
            return samplers.RandomSampler(seed=seed)
        judged = (lambda trial: trial.user_attrs.get(OVER, [0.0])) if self.options.limits() else None
        return samplers.TPESampler(n_startup_trials=self.options.startup, seed=seed, constraints_func=judged)

    def _pruner(self) -> "BasePruner":
        pruners, options = self.optuna.pruners, self.options
        if options.pruner == "median":
            return pruners.MedianPruner(n_startup_trials=options.startup, n_warmup_steps=options.warmup)
        if options.pruner == "hyperband":
            most = self.epochs if self.epochs is not None and self.epochs > 0 else "auto"
            return pruners.HyperbandPruner(min_resource=max(1, options.warmup), max_resource=most)
        return pruners.NopPruner()


class _NoLock:
    """Stands for the journal's own lock, which outlives a process that was killed: all is written under ours."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        return None


def mend(path: Path) -> None:
    """Cut off half a line that a killed process has left at the end of a journal: the next would be glued to it."""
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)


def draw(trial: "Trial", space: Space) -> Any:
    """Draw the value of a space for a trial, or return the one that it has."""
    if space.choices is not None:
        return trial.suggest_categorical(space.name, space.grid())
    step = space.step
    if space.whole:
        return trial.suggest_int(space.name, int(space.low), int(space.high), step=int(step or 1), log=space.log)
    return trial.suggest_float(space.name, space.low, space.high, step=step, log=space.log)


def cell_name(number: int) -> str:
    """Return the name of the cell of a trial.

    Example:
        >>> cell_name(7)
        'trial0007'
    """
    return f"trial{number:04}"


def name_of(trial: "FrozenTrial") -> str:
    """Return the name of a trial's cell: one that is tried again goes on with that of the first attempt."""
    return str(trial.user_attrs.get(CELL) or cell_name(trial.number))


def drawn_of(trial: "FrozenTrial") -> dict[str, Any]:
    """Return the values of a trial, those of one that waits too."""
    return dict(trial.params or trial.system_attrs.get("fixed_params", {}))


def is_beyond(trial: "FrozenTrial") -> bool:
    """Tell whether a trial was not trained, because its model is beyond a limit."""
    return any(value > 0 for value in trial.user_attrs.get(OVER, ()))


def spoken(limits: Mapping[str, Any]) -> str:
    """Name limits.

    Example:
        >>> spoken({"max_parameters": 1000, "max_ms_per_image": 2.5})
        'max_parameters 1000 and max_ms_per_image 2.5'
    """
    return " and ".join(f"{name} {value}" for name, value in limits.items())
