"""What a stack is made of: members, and the cells that train them."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from common.few import few
from common.lazy_seam import lazy
from common.ranges import SEEDS, check_range
from common.settings import dotted
from common.spelling import nearest
from ensembling.choices import LOGIT_CACHE, SMALLEST_GAIN, TTA, LeakedSamples, NearCopies
from ensembling.heads import Head, LogisticHead, MeanHead, TunedMeanHead
from ensembling.judging.reject import Reject
from measures.set_options import SetOptions
from pipelines.cells.cell import Cell, check_count
from pipelines.cells.executors import CellExecutor, LocalExecutor
from records import run_dir

Mode = Literal["holdout", "val", "oof", "train"]

# folders of an experiment that are no runs
RESERVED = ("cells", "logs", "parsl")
# name of a member in a further repeat
REPEAT = "{}-repeat{}"
# options of the command line that the plan sets by its own, and which of its options does
FOLD_OPTIONS = {"data.num_folds": "num_folds", "data.fold": "mode", "data.held_out": "mode"}
TAKEN = {
    "run.root": "root",
    "run.experiment": "experiment",
    "run.name": "name",
    "ckpt_path": "experiment",
    "config": "fragments",
}


@dataclass(eq=False)
class Member:
    """One model of the stack.

    Args:
        name: of its runs
        fragments: config files beside those that all members share; later ones win
        options: what it sets beyond its fragments, by the names of the command line, such as model.dropout
        seed: of its weights, order and augmentation; null leaves it to its options
        epochs: to train for; null leaves them to its options
        folds: in mode oof, train it on every fold. A costly member may be trained for the first fold alone; the heads
            are then fitted on that fold's samples alone
        starts_from: name of another member, whose trained weights this one starts from as by model.weights, in mode oof
            those of the same fold; it is trained after that one
    """

    name: str
    fragments: list[str] = field(default_factory=list)
    # a mapping of anything would make numbers of quoted text
    options: dict = field(default_factory=dict)
    seed: int | None = None
    epochs: int | None = None
    folds: bool = True
    starts_from: str | None = None

    def __post_init__(self) -> None:
        self.options = dotted(self.options)
        for name, option in (("seed", "seed_everything"), ("epochs", "trainer.max_epochs")):
            if getattr(self, name) is not None and option in self.options:
                raise ValueError(f"member {self.name!r}: {name} and {option} in options cannot be given together")
        if self.starts_from is not None and "model.weights" in self.options:
            raise ValueError(
                f"member {self.name!r}: starts_from and model.weights in options both say where to start from: use one"
            )
        check_range(f"member {self.name!r}: epochs", self.epochs, "[1, inf)")
        check_range(f"member {self.name!r}: seed", self.seed, SEEDS)

    @property
    def settings(self) -> dict[str, Any]:
        """Its options, seed and epochs, by the names of the command line."""
        own = {"seed_everything": self.seed, "trainer.max_epochs": self.epochs}
        return {**self.options, **{name: value for name, value in own.items() if value is not None}}


@dataclass(eq=False)
class StackPlan:
    """Members, the heads over them, and how they are run.

    Args:
        members: the models of the stack; each is trained in a process and folder of its own
        heads: what is fitted on the members' logits
        experiment: folder of the runs; the same plan continues in the same folder
        root: folder of all experiments
        only: names of the members that the stack is made of; none are all
        mode: what the heads are fitted on: holdout (samples of the split `stack`, which no member sees), val (the
            validation split, by which the members' best epochs were chosen), oof (each training sample, by the
            member's run that did not see it), or train (the members' own training samples, which is refused without
            allow_leakage)
        num_folds: in mode oof, runs of a member, each without another part of the training samples
        test_with: in mode oof, what predicts for a member at test: folds (the mean of its folds) or refit (one more
            run on all training samples)
        fragments: config files of all members
        options: what all members set beyond their fragments, by the names of the command line
        executor: where the cells run
        retries: how often a cell that failed is started again
        tta: views of each image that a member's probabilities are averaged over: none, flip (the image and its mirror
            image), or flip_shift (both, also shifted up, down, left and right)
        balanced: let all classes count alike on held-out samples: heads and temperatures are fitted, and models chosen,
            for new images in which all classes are equally frequent
        calibrate: scale every model's logits by a temperature fitted on held-out samples
        reject: which predictions of the stack to leave to a person
        sets: which prediction sets of the stack are measured on test, and which `predict` makes unless its command line
            says otherwise
        max_ms_per_image: leave members out until the stack costs no more than this, as measured on this machine; null
            keeps all
        smallest_gain: by how much a more complex model must be better to be recommended, beside being better beyond
            noise: of accuracy (0.001 is a tenth of a point), or as many nats of NLL
        keep: the model that is written to stack.ckpt, by its name in the report; null keeps the recommended one
        allow_leakage: fit heads on samples that a member was fitted on; every table then says so
        allow_unknown: accept members that were fitted on unknown images, such as those that start from a file of
            weights without a record of its training images; every table then says so
        leaked_samples: what becomes of samples that a member was fitted on: refuse, or drop (leave out as many as a
            tenth, and say so)
        near_copies: what becomes of samples that look like copies of images that a member was fitted on: tell, or
            refuse
        allow_changed: use finished cells that were trained on data which has changed since; every table then says so
        logit_cache: folder that keeps the members' logits, for all runs; null keeps none, and computes them each time
        expected_accuracy: accuracy of members, for what is said before training of the gain that could be seen; null
            takes that of finished cells on validation samples, or 0.9
        expected_disagreement: share of images of which one of two models alone is right, for the same; null computes it
            from the accuracy, for errors that correlate by 0.5
        negative_control: also fit a head over permuted labels, and one over the members and one more of noise, and
            report what they claim: nothing, if all is well. They are never kept
        repeats: how often all cells are trained, each time with other seeds and splits; from 2 on the gain of the
            recommended stack is reported with what it owes to the images and to the seeds
        seed: of the heads, their folds and the bootstrap
        stack_name: folder of the result, beside those of the cells
        study: it is a cell of a study, whose other stacks are in the same folder: the names of the members' runs tell
            their settings apart, and other commands of the study may work in the folder at the same time
        page: write the report's page into the stack's folder at the end
        all_tables: print every table of the report, instead of the first alone
        dry_run: print the cells and what they cost, and start nothing
        fresh: start in a new folder, experiment-2, -3, ..., where the experiment exists
    """

    members: list[Member]
    heads: list[Head] = field(default_factory=lambda: [LogisticHead()])
    experiment: str = "stack"
    root: str = "runs"
    only: list[str] = field(default_factory=list)
    mode: Mode = "holdout"
    num_folds: int = 5
    test_with: Literal["folds", "refit"] = "folds"
    fragments: list[str] = field(default_factory=list)
    options: dict = field(default_factory=dict)
    executor: CellExecutor = lazy(LocalExecutor)
    retries: int = 1
    tta: TTA = "none"
    balanced: bool = False
    calibrate: bool = True
    reject: Reject = field(default_factory=Reject)
    sets: SetOptions = field(default_factory=SetOptions)
    max_ms_per_image: float | None = None
    smallest_gain: float = SMALLEST_GAIN
    keep: str | None = None
    allow_leakage: bool = False
    allow_unknown: bool = False
    leaked_samples: LeakedSamples = "refuse"
    near_copies: NearCopies = "tell"
    allow_changed: bool = False
    logit_cache: str | None = LOGIT_CACHE
    expected_accuracy: float | None = None
    expected_disagreement: float | None = None
    negative_control: bool = False
    repeats: int = 1
    seed: int = 0
    stack_name: str = "stack"
    study: bool = False
    page: bool = True
    all_tables: bool = False
    dry_run: bool = False
    fresh: bool = False

    def __post_init__(self) -> None:
        self.options = dotted(self.options)
        if not self.members:
            raise ValueError("members must name at least one model")
        named = [member.name for member in self.members]
        if other := next((name for name in self.only if name not in named), None):
            raise ValueError(f"only: there is no member {other!r}{nearest(other, named)} (members: {few(named, 20)})")
        if self.only:
            self.members = [member for member in self.members if member.name in self.only]
        if not self.heads:
            raise ValueError("heads must name at least one head, such as LogisticHead")
        check_range("--retries", self.retries, "[0, inf)")
        check_range("--max_ms_per_image", self.max_ms_per_image, "(0, inf)")
        check_range("--smallest_gain", self.smallest_gain, "[0, 1)")
        check_range("--expected_accuracy", self.expected_accuracy, "(0, 1)")
        check_range("--expected_disagreement", self.expected_disagreement, "(0, 1)")
        check_range("--repeats", self.repeats, "[1, inf)")
        check_range("--seed", self.seed, SEEDS)
        if self.balanced and self.reject.wanted:
            raise ValueError(
                "balanced and reject cannot be given together: what reject promises holds for classes as frequent as "
                "in the held-out samples"
            )
        if self.balanced and self.repeats > 1:
            raise ValueError("balanced and repeats cannot be given together: use one of them")
        self._check_mode()
        self._check_starts()
        self._check_options()
        self._check_names()

    def _check_mode(self) -> None:
        check_range("--num_folds", self.num_folds, "[2, inf)")
        folds = self.num_folds if self.mode == "oof" else 1
        check_count(len(self.members) * folds * self.repeats, "members, folds and repeats")
        if self.mode == "train" and not self.allow_leakage:
            raise ValueError(
                "mode train fits the heads on the samples that the members were fitted on: set allow_leakage true, and "
                "every table says so; or use mode holdout, val or oof"
            )
        if self.mode == "oof":
            return
        if self.test_with != "folds":
            raise ValueError(f"test_with {self.test_with} needs mode oof: in mode {self.mode} a member is one run")
        once = next((member.name for member in self.members if not member.folds), None)
        if once is not None:
            raise ValueError(f"member {once!r}: folds false needs mode oof: in mode {self.mode} a member is one run")

    def _check_starts(self) -> None:
        known = {member.name: member for member in self.members}
        for member in self.members:
            if member.starts_from is None:
                continue
            says = f"member {member.name!r}: starts_from {member.starts_from!r}"
            if self.study:
                raise ValueError(f"{says} cannot be in a study of stacks: train that member once, and name its weights")
            if (source := known.get(member.starts_from)) is None:
                raise ValueError(f"{says} is no member{nearest(member.starts_from, known)} (members: {few(known, 20)})")
            if self.mode == "oof" and member.folds and not source.folds:
                raise ValueError(f"{says} has one fold alone: set folds false here too")
            passed = [member]
            while source is not None and source.starts_from is not None:
                if source in passed:
                    raise ValueError(f"{says} leads back to it: one of them must start from something else")
                passed.append(source)
                source = known.get(source.starts_from)

    def _check_options(self) -> None:
        for owner, options in (("", self.options), *((f"member {m.name!r}: ", m.options) for m in self.members)):
            for option in options:
                if option in TAKEN:
                    raise ValueError(f"{owner}{option} in options is set by the plan: use its {TAKEN[option]}")
                if option in FOLD_OPTIONS:
                    raise ValueError(
                        f"{owner}{option} in options and mode {self.mode} cannot be given together: mode oof sets it, "
                        f"from the plan's {FOLD_OPTIONS[option]}"
                    )

    def _check_names(self) -> None:
        for name in (self.experiment, self.stack_name, *(member.name for member in self.members)):
            run_dir.RunOptions(self.root, name, name)
        taken = (*RESERVED, self.stack_name)
        reserved = next((member.name for member in self.members if member.name in taken), None)
        if reserved is not None:
            raise ValueError(
                f"member {reserved!r}: the folder of this name holds other files of the experiment; rename the member"
            )
        again = {REPEAT.format(m.name, number) for m in self.members for number in range(2, self.repeats + 1)}
        if named := next((member.name for member in self.members if member.name in again), None):
            raise ValueError(f"member {named!r}: a repeat of another member has this name; rename the member")
        means = (MeanHead.name, TunedMeanHead.name)
        if mean := next((member.name for member in self.members if member.name in means), None):
            raise ValueError(f"member {mean!r}: a head of this name is in every stack; rename the member")
        if self.stack_name in (*RESERVED, *(cell.name for cell in self.cells)):
            raise ValueError(
                f"stack_name {self.stack_name!r}: the folder of this name holds something else; rename the stack"
            )
        heads = self.named_heads()
        known = [*(member.name for member in self.members), *heads]
        if self.keep is not None and self.keep not in known:
            raise ValueError(f"keep: there is no model {self.keep!r} (known: {', '.join(known)})")
        name, count = Counter(cell.name for cell in self.cells).most_common(1)[0]
        if count > 1:
            raise ValueError(f"two cells are named {name!r}: names are folders and must differ")

    def named_heads(self) -> dict[str, Head]:
        """Return the heads by name; the mean and the tuned mean, which others must beat, come first."""
        named: dict[str, Head] = {}
        taken = {member.name for member in self.members}
        for head in (MeanHead(), TunedMeanHead(), *self.heads):
            same = sum(type(other).name == head.name for other in named.values())
            if same and isinstance(head, MeanHead | TunedMeanHead):
                continue
            name = f"{head.name} {same + 1}" if same else head.name
            # a member is often called by its family
            named[f"{name} head" if name in taken else name] = head
        return named

    @property
    def cells(self) -> list[Cell]:
        """All runs, those of a member together."""
        return [cell for member in self.members for cell in self.cells_of(member)]

    def options_of(self, member: Member) -> dict[str, Any]:
        """Return what a member sets beyond its fragments, by the names of the command line; its own options win.

        Args:
            member: one of the members
        """
        options = {**self.options, **member.settings}
        if member.starts_from is not None:
            options.pop("model.weights", None)
        return options

    def cells_of(self, member: Member) -> list[Cell]:
        """Return a member's runs: its folds in order, then the refit.

        Args:
            member: one of the members
        """
        fragments = (*self.fragments, *member.fragments)
        options = self.options_of(member)
        if self.mode != "oof":
            cells = [Cell(member.name, member.name, fragments, options)]
        else:
            cells = []
            for fold in range(self.num_folds if member.folds else 1):
                held_out = {"data.num_folds": self.num_folds, "data.fold": fold, "data.held_out": "stack"}
                name = f"{member.name}-fold{fold}"
                cells.append(Cell(name, member.name, fragments, {**options, **held_out}, fold))
            if self.test_with == "refit":
                cells.append(Cell(f"{member.name}-refit", member.name, fragments, options, refit=True))
        if member.starts_from is not None:
            source = next(other for other in self.members if other.name == member.starts_from)
            starts = {(cell.fold, cell.refit): cell.name for cell in self.cells_of(source)}
            cells = [replace(cell, starts_from=starts[cell.fold, cell.refit]) for cell in cells]
        return [replace(cell, name=f"{cell.name}-{key_of(cell)}") for cell in cells] if self.study else cells

    def held_out_cells(self, member: Member) -> list[Cell]:
        """Return the runs whose held-out samples the heads are fitted on.

        Args:
            member: one of the members
        """
        return [cell for cell in self.cells_of(member) if not cell.refit]

    def tested_cells(self, member: Member) -> list[Cell]:
        """Return the runs whose mean gives a member's test predictions.

        Args:
            member: one of the members
        """
        return [cell for cell in self.cells_of(member) if cell.refit == (self.test_with == "refit")]


def key_of(cell: Cell) -> str:
    """Return what tells the settings of a cell from others: six hex digits of their hash."""
    return hashlib.blake2b(repr((cell.fragments, sorted(cell.options.items()))).encode(), digest_size=3).hexdigest()
