"""The section of a search: what its trials reached, which options matter, and how sure the best one is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from common.few import count_of
from figures.search import Coordinate, importances, parallel_coordinates, search_history
from pipelines.report.comparison import compare
from pipelines.report.intervals import add_accuracy
from pipelines.report.page import Picture, Section, Table, TableCell, Verdict, drawn, number_cell
from pipelines.report.runs import FoundRun, Missing
from pipelines.report.sections import among_best
from pipelines.report.sweep_section import ranking, sortable
from pipelines.report.sweeps import FoundStudy, pairs_of
from pipelines.report.tables import spoken
from records.damaged import DamagedFileError
from records.search_file import STATES, SearchFile, SearchTrial
from records.study_file import StudyFile

# trials that the table shows, and the best ones that are compared sample by sample
ROWS, COMPARED = 500, 200
# axes of parallel coordinates that can be read
DRAWN_SPACES = 12
WORDS = {"pruned": "ended early", "over": "over a limit"}


@dataclass(frozen=True)
class FoundSearch:
    """A search as its folder shows it.

    Args:
        folder: the experiment's
        file: what was tried
        runs: of its trials, and of the refit, by name
    """

    folder: Path
    file: SearchFile
    runs: dict[str, FoundRun]

    def holds(self, folder: Path) -> bool:
        """Tell whether a run is a part of it, so that its section says how it stands.

        Args:
            folder: of the run
        """
        own = (*(trial.name for trial in self.file.trials), *(name for name in [self.file.refit] if name))
        same = folder.resolve().parent == self.folder.resolve()
        return same and any(folder.name == name or folder.name.startswith(f"{name}-") for name in own)

    @property
    def ranked(self) -> list[SearchTrial]:
        """The trials that were trained to their end, the best first."""
        sign = -1 if self.file.maximize else 1
        ended = [trial for trial in self.file.trials if trial.state == "complete" and trial.value is not None]
        return sorted(ended, key=lambda trial: (sign * (trial.value or 0.0), trial.number))

    def cells(self, trial: SearchTrial) -> list[FoundRun]:
        """Return the runs of a trial: one, or one for each seed and fold."""
        return [run for name, run in self.runs.items() if name == trial.name or name.startswith(f"{trial.name}-")]


def find_searches(runs: Sequence[FoundRun], planned: Sequence[Missing]) -> tuple[list[FoundSearch], list[str]]:
    """Find the searches that runs belong to.

    Args:
        runs: all that were found
        planned: runs that were planned and have no folder

    Returns:
        searches, and what is to be said of files that cannot be read
    """
    folders: dict[Path, dict[str, FoundRun]] = {}
    for run in runs:
        folder = run.files.folder.resolve()
        folders.setdefault(folder.parent, {})[folder.name] = run
    for missing in planned:
        folders.setdefault(missing.folder.resolve().parent, {})
    found, notes = [], []
    for folder, own in folders.items():
        try:
            file = SearchFile.read(folder)
        except DamagedFileError as error:
            notes.append(str(error))
            continue
        if file is not None:
            found.append(FoundSearch(folder, file, own))
    return found, notes


def search_section(search: FoundSearch, name: str) -> tuple[Section, list[Picture]]:
    """Build the section of a search.

    Args:
        search: as found
        name: beginning of the pictures' names, and the section's address

    Returns:
        the section, and the pictures in it
    """
    file, ranked = search.file, search.ranked
    section = Section(f"search {search.folder.name}: {len(ranked):,} of {file.wanted:,} trials complete", name)
    means = f", means over {' and '.join(file.repeats)}" if file.repeats else ""
    section.say(
        f"Trials ({file.method}) are compared by {file.metric} at the epoch that each keeps{means}: {counts_of(file)}."
    )
    if file.limits:
        section.say(f"Limits: {', '.join(f'{limit} {value:,}' for limit, value in file.limits.items())}.")
    if failed := [trial for trial in file.trials if trial.state == "failed"]:
        section.say(f"{count_of(len(failed), 'trial')} failed: the same command tries them again.", "warn")
    if best := file.best_trial:
        section.say(best_said(search, best))
        if note := noise_of(search):
            section.say(note)
    section.blocks.append(trials_table(file, ranked))
    pictures = pictures_of(file, ranked, name)
    section.blocks += pictures
    return section, pictures


def counts_of(file: SearchFile) -> str:
    """Say how many trials stand in which way."""
    states = [trial.state for trial in file.trials]
    return ", ".join(f"{states.count(s):,} {WORDS.get(s, s)}" for s in STATES if s in states)


def best_said(search: FoundSearch, best: SearchTrial) -> str:
    """Say which trial is best, what was made of it, and what its number is worth."""
    file = search.file
    values = ", ".join(f"{space} {value}" for space, value in best.values.items())
    said = [f"The best is trial {best.number} ({values}): {file.metric} {best.value:.4f}."]
    if file.fragment:
        said.append(f"{file.fragment} holds its options, for fit --config.")
    said.append("It was chosen by this number among all trials, so the number is too good for new images.")
    refit = search.runs.get(file.refit or "")
    if refit is not None:
        metric = file.metric.removeprefix("val/")
        tested = refit.metrics("test").get(metric)
        result = "not tested" if tested is None else f"{spoken(metric)} {tested:.4f} on test, which chose nothing"
        said.append(f"It was trained once more as {file.refit}: {result}.")
    return " ".join(said)


def noise_of(search: FoundSearch) -> str:
    """Say which trials cannot be told from the best one; nothing where that is not known."""
    file, ranked = search.file, search.ranked[:COMPARED]
    if len(ranked) < 2:
        return ""
    by = file.metric.removeprefix("val/")
    runs = {trial.name: search.cells(trial) for trial in ranked}
    groups = compare([run for own in runs.values() for run in own], "val", ("accuracy",), "accuracy")
    if not file.repeats:
        whole = next((group for group in groups if len(group.runs) > 1 and group.reference is not None), None)
        if whole is None:
            return ""
        add_accuracy(whole)
        return f"On the validation images, by accuracy: {among_best(whole)}"
    # lines of a study, which are compared over their repeats
    cells = {run.files.folder.name: [name, run.files.folder.name] for name, own in runs.items() for run in own}
    repeats = [label.partition("-")[2] for _, label in cells.values()]
    axes = {"trial": list(runs), "repeat": list(dict.fromkeys(repeats))}
    labels = {name: [cell[0], repeat] for (name, cell), repeat in zip(cells.items(), repeats, strict=True)}
    study = StudyFile("val", [by], axes, ["repeat"], labels)
    compared = {run.run.files.folder.name: run for group in groups for run in group.runs}
    found = FoundStudy(search.folder, study, compared)
    pairs, _ = pairs_of(found)
    return ranking(found, pairs) if pairs else ""


def trials_table(file: SearchFile, ranked: Sequence[SearchTrial]) -> Table:
    """Build the table of trials, the best first, and those without a number last."""
    spaces = [space.label for space in file.spaces]
    order = [*ranked, *(trial for trial in file.trials if trial not in ranked)]
    timed = any(trial.ms is not None for trial in order)
    rows = []
    for trial in order[:ROWS]:
        state = WORDS.get(trial.state, trial.state)
        note = trial.why or ("" if trial.same_as is None else f"the values of trial {trial.same_as}")
        small = f"{file.metric} was {trial.last:.4f}" if trial.last is not None else note
        cells = [TableCell(str(trial.number), float(trial.number), style="best" if trial.number == file.best else "")]
        cells.append(TableCell(state, state, small, style="warn" if trial.state == "failed" else ""))
        for space in spaces:
            label = trial.values.get(space, "–")
            cells.append(TableCell(label, trial.numbers.get(space, sortable(label))))
        cells.append(number_cell(trial.value, f"{trial.value or 0:.4f}"))
        cells += [number_cell(trial.epochs), number_cell(trial.seconds, f"{trial.seconds or 0:,.0f}")]
        cells.append(number_cell(trial.parameters))
        cells += [number_cell(trial.ms, f"{trial.ms or 0:.3f}")] if timed else []
        rows.append(cells)
    more = f"; the best {ROWS} of {len(order):,}" if len(order) > ROWS else ""
    numbers = [file.metric, "epochs", "seconds", "parameters", *["ms an image"] * timed]
    numeric = [True, False, *(not space.choices for space in file.spaces), *[True] * len(numbers)]
    return Table(f"trials{more}", ["trial", "state", *spaces, *numbers], rows, numeric)


def pictures_of(file: SearchFile, ranked: Sequence[SearchTrial], name: str) -> list[Picture]:
    """Draw the history of a search, the importances of its spaces, and its trials in parallel coordinates."""
    if not ranked:
        return []
    values = {trial.number: trial.value for trial in ranked if trial.value is not None}
    early = {trial.number: trial.last for trial in file.trials if trial.last is not None}
    figure = search_history(values, early, file.maximize, file.metric)
    alt = f"{file.metric} of {len(values)} trials; the best is trial {file.best}"
    pictures = [drawn(f"{name}_history", "what each trial reached, and the best so far", alt, figure)]
    if file.importances:
        shares = ", ".join(f"{space} {share:.0%}" for space, share in file.importances.items())
        caption = f"importance by functional ANOVA over {len(ranked)} trials: few trials tell little"
        figure = importances(file.importances, file.metric)
        pictures.append(drawn(f"{name}_importances", caption, f"importances: {shares}", figure))
    if len(ranked) > 1:
        coordinates = [
            Coordinate(
                space.label,
                [trial.numbers[space.label] for trial in ranked]
                if not space.choices
                else [space.choices.index(trial.values[space.label]) for trial in ranked],
                space.log,
                space.choices,
            )
            for space in file.spaces[:DRAWN_SPACES]
        ]
        figure = parallel_coordinates(coordinates, list(values.values()), file.maximize, file.metric)
        more = f"; the first {DRAWN_SPACES} of {len(file.spaces)} options" if len(file.spaces) > DRAWN_SPACES else ""
        caption = f"a line for each trial that was trained to its end, through its values{more}"
        pictures.append(drawn(f"{name}_parallel", caption, f"parallel coordinates of {len(ranked)} trials", figure))
    return pictures


def search_verdict(search: FoundSearch, anchor: str) -> Verdict | None:
    """Say which trial of a search is best; None where none is complete.

    Args:
        search: as found
        anchor: of its section
    """
    best, file = search.file.best_trial, search.file
    if best is None or best.value is None:
        return None
    title = f"search {search.folder.name}: {len(search.ranked):,} of {file.wanted:,} trials complete"
    winner = f"trial {best.number}: {', '.join(f'{space} {value}' for space, value in best.values.items())}"
    refit = search.runs.get(file.refit or "")
    return Verdict(
        title, anchor, winner, f"{file.metric} {best.value:.4f}", f"refitted as {refit.name}" if refit else ""
    )
