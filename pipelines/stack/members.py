"""What a stack's members say of the samples that its heads are fitted on, and of the test samples."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.few import few
from common.machine import device_name
from datamodules import DataModule
from datamodules.names import names_differ, shown
from datamodules.provenance import Provenance
from datamodules.samples import Samples
from engine.device import choose_device
from ensembling.balance import repeats_for_balance
from ensembling.cache import LogitCache, LogitCounts
from ensembling.choices import TTA
from ensembling.folds import join_copies
from ensembling.frozen_outputs import precision_context
from ensembling.leakage import Leakage, find_leakage, join_leakage, leave_out_leaked, near_copies, refuse_leakage
from ensembling.logits import mean_of_folds
from ensembling.tta import tta_logits
from lightning_modules.checkpoints import Base, load_classifier, read_base, refuse_lost_best
from lightning_modules.member_logits import stack_logits
from lightning_modules.speed import ms_per_image
from pipelines.stack.plan import StackPlan
from records.fields import ANY, check_fields
from records.json_files import read_json
from records.result_files import or_put_aside, write_json
from records.run_dir import RunDir

# the split that holds the meta samples, by the mode of a plan
META_SPLITS = {"holdout": "stack", "oof": "stack", "val": "val", "train": "train"}


@dataclass(frozen=True)
class MemberRun:
    """A finished run, and what its checkpoint says, which is read and hashed once.

    Args:
        files: its folder
        base: of its weights
    """

    files: RunDir
    base: Base

    @classmethod
    def of(cls, files: RunDir) -> "MemberRun":
        """Read the checkpoint of a run."""
        return cls(files, read_base(refuse_lost_best(files.weights)))


@dataclass(frozen=True)
class TrainedMember:
    """The finished runs of one member.

    Args:
        name: of the member
        held_out: the runs whose held-out samples the heads are fitted on: one a fold, or the only one
        tested: the runs whose mean probability is the member's at test
    """

    name: str
    held_out: list[MemberRun]
    tested: list[MemberRun]

    @property
    def run_names(self) -> list[str]:
        """The names of all its runs, each once."""
        return list(dict.fromkeys(run.files.folder.name for run in (*self.held_out, *self.tested)))

    def check_data(self, data: DataModule) -> None:
        """Refuse a member that was trained on other classes, or on images of another form, than the stack's data has.

        Args:
            data: that of the first member

        Raises:
            ValueError: they differ
        """
        names, samples = list(data.dataset.class_names), data.dataset.train
        shape = list(samples.source.gather(samples.rows[:1]).shape[1:])
        for run in (*self.held_out, *self.tested):
            info = run.base.info
            classes = list(info.class_names)
            if classes != names:
                theirs, ours = (few(map(shown, each), shown=10) for each in (classes, names))
                raise ValueError(
                    f"member {self.name!r} was trained on the classes [{theirs}], but the stack's data has [{ours}] "
                    f"({names_differ(classes, names)}): give all members the same data"
                )
            form = [info.in_channels, *info.image_size]
            if samples.source.name == "image" and form != shape:
                raise ValueError(
                    f"member {self.name!r} was trained on images with channels, height and width {form}, but the "
                    f"stack's data has {shape}: give all members the same data"
                )
            if info.table is not None and (told := info.table.difference(data.info.table, "it", "the stack's data")):
                raise ValueError(f"member {self.name!r}: {told}")


@dataclass(frozen=True)
class MemberLogits:
    """The members' logits for some samples.

    Args:
        ids: id of each sample, shape `(sample,)`
        keys: key of each sample's bytes, shape `(sample,)`
        labels: class of each sample, shape `(sample,)`
        groups: group of each sample, shape `(sample,)`; None where the data has none
        logits: float32, shape `(sample, member, class)`
        pixels: content key of each sample, shape `(sample,)`; None if it is not known
        looks: perceptual hash of each sample, shape `(sample,)`; None if it is not known
        sources: number of each sample's source, shape `(sample,)`; None where the data has none
        by_fold: logits of the runs of each fold, shape `(sample, fold, member, class)`; None where a member is one run
        group_forms: see `Samples`
        repeats: how many of the last rows repeat earlier ones, so that all classes count alike
    """

    ids: Tensor
    keys: Tensor
    labels: Tensor
    groups: Tensor | None
    logits: Tensor
    pixels: Tensor | None = None
    looks: Tensor | None = None
    sources: Tensor | None = None
    group_forms: Tensor | None = None
    by_fold: Tensor | None = None
    repeats: int = 0

    @classmethod
    def of(cls, parts: Sequence[Samples], logits: Sequence[Tensor]) -> "MemberLogits":
        """Put the samples of several parts, such as folds, one after the other, with their logits."""
        ids, keys, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("ids", "keys", "labels"))
        columns = ("groups", "pixels", "looks", "sources", "group_forms")
        found = [[getattr(part, name) for part in parts] for name in columns]
        groups, pixels, looks, sources, forms = (
            None if any(c is None for c in columns) else torch.cat(columns) for columns in found
        )
        return cls(ids, keys, labels, groups, torch.cat(list(logits)), pixels, looks, sources, group_forms=forms)

    @cached_property
    def units(self) -> Tensor | None:
        """The groups, with copies of an image in one, shape `(sample,)`; None where each sample is for itself."""
        return join_copies(self.keys if self.pixels is None else self.pixels, self.groups)

    @property
    def folds(self) -> Tensor:
        """The logits of the runs of each fold, shape `(sample, fold, member, class)`."""
        return self.logits[:, None] if self.by_fold is None else self.by_fold

    def rows(self, chosen: Tensor) -> "MemberLogits":
        """Keep some rows, in any order.

        Args:
            chosen: indices, shape `(row,)`
        """
        columns = {f.name: getattr(self, f.name) for f in fields(self)}
        kept = {name: column[chosen] for name, column in columns.items() if isinstance(column, Tensor)}
        return replace(self, **kept, repeats=0)

    def balanced(self, seed: int = 0) -> "MemberLogits":
        """Append repeats of samples of rare classes; see `repeats_for_balance`."""
        repeated = repeats_for_balance(self.labels, seed)
        return replace(self.rows(torch.cat([torch.arange(len(self.labels)), repeated])), repeats=len(repeated))

    @property
    def own(self) -> "MemberLogits":
        """Each sample once, without repeats."""
        return self.rows(torch.arange(len(self.labels) - self.repeats)) if self.repeats else self

    def of_members(self, numbers: Sequence[int]) -> "MemberLogits":
        """Keep some members."""
        kept = list(numbers)
        return replace(
            self, logits=self.logits[:, kept], by_fold=None if self.by_fold is None else self.by_fold[:, :, kept]
        )


def meta_samples(plan: StackPlan, data: DataModule) -> list[Samples]:
    """Return the meta samples: those of each fold that all members were trained without, or a single split.

    Args:
        plan: says in which mode
        data: that of the first member's first cell

    Raises:
        ValueError: there are none, or a sample would come more than once
    """
    split = META_SPLITS[plan.mode]
    if plan.mode != "oof":
        samples = data.samples(split)
        if not len(samples):
            raise ValueError(f"mode {plan.mode} needs samples: set data.{split}_fraction above 0 in options")
        return [samples]
    folds = []
    for number in range(min(len(plan.held_out_cells(member)) for member in plan.members)):
        part = replace(data, fold=number)
        # read once
        part.share(data.dataset)
        folds.append(part.samples(split))
    ids = torch.cat([samples.ids for samples in folds])
    everything = data.pool(data.dataset).ids
    if len(ids.unique()) != len(ids):
        raise ValueError("a sample lies in two folds: its members' logits would come twice")
    if len(folds) == plan.num_folds and not torch.equal(ids.sort().values, everything.sort().values):
        raise ValueError(f"the folds hold {len(ids)} of {len(everything)} training samples: some have no logits")
    return folds


def tested_samples(data: DataModule) -> Samples:
    """Return the test samples.

    Args:
        data: that of the first member

    Raises:
        ValueError: there are none
    """
    samples = data.samples("test")
    if not len(samples):
        raise ValueError("a stack is compared on test samples, and the data has none: set data.test_fraction above 0")
    return samples


def check_leakage(
    plan: StackPlan, members: Sequence[TrainedMember], folds: Sequence[Samples]
) -> tuple[list[Samples], Leakage]:
    """Refuse members that were fitted on the meta samples that they predict, or leave out these samples.

    Args:
        plan: may allow it
        members: with their runs
        folds: the meta samples of each fold

    Returns:
        the meta samples that are kept, of each fold, and the overlaps
    """
    kept, parts, refuses_near = [], [], plan.near_copies == "refuse"
    for number, samples in enumerate(folds):
        records = {member.name: member.held_out[number].base.provenance for member in members}
        notes: list[str] = []
        if plan.leaked_samples == "drop":
            samples, notes = leave_out_leaked(samples, records, refuses_near, plan.allow_leakage)
        kept.append(samples)
        parts.append(replace(find_leakage(samples, None, records), notes=notes))
    leakage = join_leakage(parts)
    refuse_leakage(leakage, plan.allow_leakage, plan.allow_unknown, refuses_near)
    return kept, leakage


def overlaps_with_test(members: Sequence[TrainedMember], meta: Sequence[Samples], samples: Samples) -> list[str]:
    """Count the test samples (or their groups) that members or heads were fitted on, or members were selected on.

    Args:
        members: with their runs
        meta: the samples that the heads are fitted on
        samples: the test samples
    """
    records = {f"{m.name} was": Provenance.of().union(*(run.base.provenance for run in m.tested)) for m in members}
    seen = [(f"{name} {role}", record, role) for name, record in records.items() for role in ("fitted", "selected")]
    seen.append(("the heads were fitted", Provenance.of_samples(fitted=meta), "fitted"))
    notes = []
    for what, record, role in seen:
        known = record.knows(samples, role)
        if count := int((known | record.knows_group(samples, role)).sum()):
            notes.append(
                f"{what} on copies of {count} of the test samples, or on others of their groups: numbers look better "
                f"than they are"
            )
        if role == "fitted" and (near := near_copies(samples, record) & ~known).any():
            names = samples.subset(torch.nonzero(near)[:, 0]).sample_names()
            notes.append(
                f"{what} on images that {len(names)} of the test samples look like, probably copies: {few(names, 3)}"
            )
    return notes


class LogitSource:
    """The members' logits, from the cache where they are known.

    Args:
        plan: brings cache and views
        trainer: on what the members were trained
    """

    def __init__(self, plan: StackPlan, trainer: dict[str, Any]) -> None:
        self.tta = plan.tta
        self.cache = LogitCache(plan.logit_cache) if plan.logit_cache is not None else None
        self.counts = LogitCounts()
        self.precision = str(trainer["precision"] or "32-true")
        self.device, self.note = choose_device(str(trainer["accelerator"]))

    def held_out(self, members: Sequence[TrainedMember], data: DataModule, folds: Sequence[Samples]) -> MemberLogits:
        """Compute each member's logits for each fold, by the run that was trained without it."""
        parts = []
        for number, samples in enumerate(folds):
            parts.append(self._of_runs([member.held_out[number] for member in members], samples, data))
        return MemberLogits.of(folds, parts)

    def tested(self, members: Sequence[TrainedMember], data: DataModule) -> MemberLogits:
        """Compute each member's test logits by its test runs; several give the log of their mean probability.

        A member of a single run has it in each fold.
        """
        samples = data.samples("test")
        runs = [self._of_runs(member.tested, samples, data) for member in members]
        folds = max(rows.shape[1] for rows in runs)
        by_fold = torch.stack([rows.expand(-1, folds, -1) for rows in runs], dim=2)
        columns = [mean_of_folds(rows).float() for rows in runs]
        return replace(MemberLogits.of([samples], [torch.stack(columns, dim=1)]), by_fold=by_fold)

    def _of_runs(self, runs: Sequence[MemberRun], samples: Samples, data: DataModule) -> Tensor:
        # together, so that they share the images
        bases = [run.base for run in runs]
        paths, digests = [base.path for base in bases], [base.sha256 for base in bases]
        how = (self.device, self.precision, self.tta, self.cache, self.counts)
        return stack_logits(paths, samples, data, *how, digests, [base.reads for base in bases])


def member_speed(members: Sequence[TrainedMember], data: DataModule, source: LogitSource) -> dict[str, float]:
    """Measure what each member costs at test, ms an image, all its runs together; what is known is not measured again.

    Args:
        members: with their runs
        data: brings the images and the size of a batch
        source: brings the device, and what to do with an image
    """
    samples = data.samples("test")
    samples = samples.subset(range(min(len(samples), data.batch_size)))
    setting = f"{device_name(source.device)}, {source.precision}, tta {source.tta}, batch {len(samples)}"
    costs = {}
    for member in members:
        total = 0.0
        for run in member.tested:
            known = or_put_aside(read_speed, run.files.speed)
            if setting not in known:
                inputs = data.inputs(samples, run.base.reads)
                known[setting] = run_speed(run, inputs.source.gather(inputs.rows), source)
                write_json(run.files.speed, known)
            total += known[setting]
        costs[member.name] = total
    return costs


def read_speed(path: Path) -> dict[str, float]:
    """Read how many ms an image takes in which setting; nothing if there is no file.

    Raises:
        DamagedFileError: its content has changed
    """
    if not path.is_file():
        return {}
    way_out = "remove it, and it is measured anew"
    known = read_json(path, way_out)
    check_fields(known, {ANY: float}, path, way_out)
    return known


def run_speed(run: MemberRun, images: Tensor, source: LogitSource) -> float:
    """Measure how many ms a run's model takes for an image of a batch."""
    model = load_classifier(run.base.path)
    with precision_context(source.precision, source.device):
        return ms_per_image(Views(model, source.tta if model.reads == "image" else "none"), images, source.device)


class Views(nn.Module):
    """A model over all views of each image.

    Args:
        model: from uint8 images to logits
        tta: the views
    """

    def __init__(self, model: nn.Module, tta: TTA) -> None:
        super().__init__()
        self.model, self.tta = model, tta

    def forward(self, images: Tensor) -> Tensor:
        """Compute logits `(batch, class)` of uint8 images `(batch, channel, height, width)`."""
        return tta_logits(self.model, images, self.tta)
