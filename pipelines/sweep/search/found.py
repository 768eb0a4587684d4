"""What a search has found: written down for the report, and printed."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from common.few import count_of
from common.terminal import print_whole
from pipelines.sweep.plan import SweepPlan
from pipelines.sweep.search.options import SearchOptions
from pipelines.sweep.search.study import COSTS, SAME, WHY, SearchStudy, drawn_of, is_beyond, name_of
from records.search_file import STATES, SearchFile, SearchSpace, SearchTrial

WORDS = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
# trials that the terminal shows
SHOWN = 10


def search_file(
    plan: SweepPlan,
    study: SearchStudy,
    metric: str,
    importances: bool = False,
    refit: str | None = None,
    fragment: str | None = None,
) -> SearchFile:
    """Write down how a search stands.

    Args:
        plan: of the search
        study: its trials
        metric: by which they are compared
        importances: whether to compute how much each space matters
        refit: name of the run that was trained with the best trial's values on all images
        fragment: file of these
    """
    options = study.options
    trials = [search_trial(trial, options) for trial in study.trials()]
    # one that failed and was tried again is the same trial
    newest = list({trial.name: trial for trial in trials}.values())
    best = best_of(newest, study.maximize)
    return SearchFile(
        metric,
        study.maximize,
        options.spoken(),
        options.wanted,
        [
            SearchSpace(space.name, space.log, [] if space.choices is None else space.grid())
            for space in options.all_spaces
        ],
        newest,
        options.limits(),
        study.importances() if importances else {},
        [axis.name for axis in plan.all_axes()],
        None if best is None else best.number,
        refit,
        fragment,
    )


def search_trial(trial: Any, options: SearchOptions) -> SearchTrial:
    """Put what Optuna knows of a trial into words and numbers.

    Args:
        trial: Optuna's
        options: of the search
    """
    drawn, facts = drawn_of(trial), trial.user_attrs
    spaces = [space for space in options.all_spaces if space.name in drawn]
    curve, costs = trial.intermediate_values, facts.get(COSTS) or {}
    return SearchTrial(
        trial.number,
        name_of(trial),
        "over" if is_beyond(trial) else WORDS[trial.state.name],
        {space.name: space.label(drawn[space.name]) for space in spaces},
        {space.name: float(drawn[space.name]) for space in spaces if space.choices is None},
        trial.value if trial.state.name == "COMPLETE" else None,
        curve[max(curve)] if curve and trial.state.name == "PRUNED" else None,
        facts.get("epochs"),
        facts.get("best_epoch"),
        facts.get("seconds"),
        facts.get("parameters") or costs.get("max_parameters"),
        costs.get("max_ms_per_image"),
        facts.get(SAME),
        str(facts.get(WHY) or ""),
    )


def best_of(trials: list[SearchTrial], maximize: bool) -> SearchTrial | None:
    """Return the best trial that was trained to its end, the first of equal ones; None where there is none."""
    ended = [trial for trial in trials if trial.state == "complete" and trial.value is not None]
    sign = -1 if maximize else 1
    return min(ended, key=lambda trial: (sign * (trial.value or 0.0), trial.number), default=None)


def counts_of(found: SearchFile) -> str:
    """Say how many trials stand in which way.

    Args:
        found: of the search
    """
    states = [trial.state for trial in found.trials]
    spoken = {"pruned": "ended early", "over": "over a limit"}
    return ", ".join(f"{states.count(s):,} {spoken.get(s, s)}" for s in STATES if s in states) or "none so far"


def print_search(console: Console, found: SearchFile, experiment: str) -> None:
    """Print the best trials of a search.

    Args:
        console: where to print
        found: of the search
        experiment: its name
    """
    sign = -1 if found.maximize else 1
    ranked = sorted(
        (trial for trial in found.trials if trial.value is not None),
        key=lambda trial: (sign * (trial.value or 0.0), trial.number),
    )
    table = Table(title=escape(f"{experiment}: {count_of(len(found.trials), 'trial')}, {counts_of(found)}"))
    for column in ("trial", *(space.label for space in found.spaces), found.metric, "epochs", "seconds"):
        table.add_column(escape(column), justify="right", overflow="fold")
    for trial in ranked[:SHOWN]:
        values = [trial.values.get(space.label, "–") for space in found.spaces]
        numbers = [
            f"{trial.value:.4f}",
            f"{trial.epochs or '–'}",
            "–" if trial.seconds is None else f"{trial.seconds:.0f}",
        ]
        table.add_row(str(trial.number), *map(escape, values), *numbers)
    print_whole(console, table)
    if found.importances:
        told = ", ".join(f"{name} {share:.0%}" for name, share in found.importances.items())
        console.print(f"importance for {found.metric}: {told}", soft_wrap=True, highlight=False, markup=False)
