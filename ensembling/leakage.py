"""Overlaps between what a meta-model trains on and what its members have seen."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from common.few import few
from datamodules.provenance import SEEN, Provenance
from datamodules.samples import Samples
from ensembling.near_copies import probable_copies

# names of near-copies that are told, and the largest part of the meta-training samples that is left out
EXAMPLES, MOST_DROPPED = 20, 0.1
# fields of `Leakage` that are sentences, and sentences or names by member; the others are counts by member
LISTS, NAMED = ("unknown", "changed", "notes"), ("history", "examples", "ungrouped")


class LeakageError(ValueError):
    """The meta-model would train on samples that a member was fitted on."""


def unknown_images(files: Iterable[str]) -> str:
    """Say that a model may have been fitted on any image.

    Args:
        files: the weights that it derives from and that do not say what they were fitted on
    """
    return f"fitted on unknown images: {', '.join(files)}"


@dataclass(frozen=True)
class Leakage:
    """Overlaps of the meta-training samples with what the members have seen.

    Groups are counted apart: a sample counts there if a member has seen another one of its group (the same patient or
    scene), but not the sample itself or a copy.

    Args:
        fitted: by member, the number of meta-training samples it was fitted on
        selected: by member, the number of meta-training samples that chose its checkpoint
        validated: by member, the number of samples it was fitted on among those that the meta-model is validated on
        unknown: members whose checkpoints do not say at all what they were fitted on; in stacks made before `history`
        calibrated: by member, the number of meta-training samples it was calibrated on
        fitted_groups: as `fitted`, by group alone
        selected_groups: as `selected`, by group alone
        validated_groups: as `validated`, by group alone
        calibrated_groups: as `calibrated`, by group alone
        history: by member, the weights that it derives from and that do not say what they were fitted on
        changed: what has changed of the data since members were trained on it, one sentence each
        notes: what else is to be known of the members, one sentence each
        near: by member, the number of meta-training samples that are probably copies of images it was fitted on
        examples: by member, names of a few of these
        ungrouped: by member, why the groups that it has seen cannot be compared
    """

    fitted: dict[str, int] = field(default_factory=dict)
    selected: dict[str, int] = field(default_factory=dict)
    validated: dict[str, int] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    calibrated: dict[str, int] = field(default_factory=dict)
    fitted_groups: dict[str, int] = field(default_factory=dict)
    selected_groups: dict[str, int] = field(default_factory=dict)
    validated_groups: dict[str, int] = field(default_factory=dict)
    calibrated_groups: dict[str, int] = field(default_factory=dict)
    history: dict[str, list[str]] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    near: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    ungrouped: dict[str, list[str]] = field(default_factory=dict)

    def problems(self) -> list[str]:
        """Return one sentence for each member that the meta-model must not be trained over."""
        return [
            *(f"{name} was fitted on {count} of the meta-training samples" for name, count in self.fitted.items()),
            *(
                f"{name} was fitted on other samples of the groups of {count} meta-training samples"
                for name, count in self.fitted_groups.items()
            ),
        ]

    def unknown_images(self) -> list[str]:
        """Return one sentence for each member that may have been fitted on any image, or on any group."""
        return [
            *(f"{name} was {unknown_images(['its own checkpoint'])}" for name in self.unknown),
            *(f"{name} was {unknown_images(files)}" for name, files in self.history.items()),
            *(f"{name} was fitted on unknown groups: {'; '.join(why)}" for name, why in self.ungrouped.items()),
        ]

    def look_alike(self) -> list[str]:
        """Return one sentence for each member that was fitted on images which meta-training samples look like."""
        return [
            f"{name} was fitted on images that {count} of the meta-training samples look like, probably copies: "
            f"{few(self.examples.get(name, []), 3)}"
            for name, count in self.near.items()
        ]

    def warnings(self) -> list[str]:
        """Return one sentence for each overlap that makes a number look better than it is."""
        of = "other samples of the groups of"
        sentences = (
            (self.selected, "was selected on {} meta-training samples"),
            (self.selected_groups, f"was selected on {of} {{}} meta-training samples"),
            (self.calibrated, "was calibrated on {} meta-training samples"),
            (self.calibrated_groups, f"was calibrated on {of} {{}} meta-training samples"),
            (self.validated, "was fitted on {} of the samples that the stack is validated on"),
            (self.validated_groups, f"was fitted on {of} {{}} of the samples that the stack is validated on"),
        )
        found = [f"{name} {text.format(count)}" for counts, text in sentences for name, count in counts.items()]
        return [*found, *self.look_alike(), *self.notes]

    def plain(self) -> dict[str, list[str]]:
        """Return the sentences as they stand in result.json; of unknown images and changed data where there are any."""
        found = {"unknown": self.unknown_images(), "changed": self.changed}
        rare = {name: sentences for name, sentences in found.items() if sentences}
        return {"allowed": self.problems(), **rare, "warnings": self.warnings()}


def find_leakage(samples: Samples, val: Samples | None, bases: Mapping[str, Provenance]) -> Leakage:
    """Compare samples with what members have seen: by bytes and by pixels, so that a copy counts too, and by group.

    Args:
        samples: that the meta-model is trained on
        val: that it is validated on
        bases: the record of each member by its name

    Returns:
        the overlaps; empty if there are none
    """
    counts: dict[str, Any] = {}
    for name, record in bases.items():
        for kind, role, ours in (*((role, role, samples) for role in SEEN), ("validated", "fitted", val)):
            if ours is None:
                continue
            shared = record.knows(ours, role)
            related = record.knows_group(ours, role) & ~shared
            if kind == "fitted" and (near := near_copies(ours, record) & ~shared).any():
                counts.setdefault("near", {})[name] = int(near.sum())
                counts.setdefault("examples", {})[name] = ours.subset(torch.nonzero(near)[:EXAMPLES, 0]).sample_names()
            for field_name, mask in ((kind, shared), (f"{kind}_groups", related)):
                if mask.any():
                    counts.setdefault(field_name, {})[name] = int(mask.sum())
    history = {name: list(record.unknown) for name, record in bases.items() if record.unknown}
    ungrouped = {name: why for name, record in bases.items() if (why := _not_comparable(samples, record))}
    return replace(Leakage(history=history, ungrouped=ungrouped), **counts)


def near_copies(samples: Samples, record: Provenance) -> Tensor:
    """Tell which samples look like images that a model was fitted on, its copies too, bool, shape `(sample,)`."""
    if samples.looks is None:
        return torch.zeros(len(samples), dtype=torch.bool)
    return probable_copies(samples.looks, record.fitted_looks)


def _not_comparable(samples: Samples, record: Provenance) -> list[str]:
    """Say why groups cannot be compared: one side alone has them."""
    seen, ours = bool(len(record.fitted_groups)), samples.groups is not None
    if seen == ours or not len(record.fitted):
        return []
    sides = "had groups, and the stack's has none" if seen else "had no groups, and the stack's has some"
    return [f"the data that it was trained on {sides}"]


def leave_out_leaked(
    samples: Samples, bases: Mapping[str, Provenance], near: bool, allow: bool
) -> tuple[Samples, list[str]]:
    """Leave out the few meta-training samples that a member was fitted on, or others of their groups.

    Args:
        samples: that the meta-model is to be trained on
        bases: the record of each member by its name
        near: leave out what is probably a copy too
        allow: keep all where they are many

    Returns:
        the samples that are left, and a note for the results

    Raises:
        LeakageError: they are many
    """
    leaked = torch.zeros(len(samples), dtype=torch.bool)
    for record in bases.values():
        leaked |= record.knows(samples, "fitted") | record.knows_group(samples, "fitted")
        if near:
            leaked |= near_copies(samples, record)
    count = int(leaked.sum())
    if count > MOST_DROPPED * len(samples):
        if allow:
            return samples, []
        raise LeakageError(
            f"{count} of {len(samples)} meta-training samples are those that {few(bases)} were fitted on, or of their "
            f"groups: leaked_samples drop leaves out a tenth at most. Split the data as the members' was (fractions, "
            f"split_seed, split_version and groups), or train the members anew"
        )
    if not count:
        return samples, []
    told = f"{count} of {len(samples)} meta-training samples are left out: members were fitted on them or their groups"
    return samples.subset(torch.nonzero(~leaked)[:, 0]), [told]


def join_leakage(parts: Iterable[Leakage]) -> Leakage:
    """Add up the overlaps of parts of the meta-training samples, such as folds, each compared with members of its own.

    Args:
        parts: the overlaps of each
    """
    counts: dict[str, Counter[str]] = {}
    lists: dict[str, dict[str, None]] = {}
    named: dict[str, dict[str, dict[str, None]]] = {}
    for part in parts:
        for f in fields(part):
            found = getattr(part, f.name)
            if f.name in LISTS:
                lists.setdefault(f.name, {}).update(dict.fromkeys(found))
            elif f.name in NAMED:
                for name, texts in found.items():
                    named.setdefault(f.name, {}).setdefault(name, {}).update(dict.fromkeys(texts))
            else:
                counts.setdefault(f.name, Counter()).update(found)
    joined: dict[str, Any] = {name: dict(count) for name, count in counts.items()}
    joined |= {name: list(texts) for name, texts in lists.items()}
    joined |= {field: {name: list(texts) for name, texts in found.items()} for field, found in named.items()}
    return Leakage(**joined)


def refuse_leakage(leakage: Leakage, allow: bool, allow_unknown: bool = False, near: bool = False) -> None:
    """Stop a meta-model from training on samples that its members were fitted on, or may have been.

    Args:
        leakage: the overlaps found
        allow: continue in spite of it; the results must then say so
        allow_unknown: accept members that may have been fitted on any image or group; the results must then say so
        near: refuse what is probably a copy too

    Raises:
        LeakageError: there is an overlap with fitted samples, or a member that was fitted on unknown images
    """
    problems, unknown = leakage.problems(), leakage.unknown_images()
    if problems and not allow:
        raise LeakageError(
            "; ".join(problems) + ": train the members without these samples, on data that is split as the stack's is "
            "(fractions, split_seed, split_version and groups), or set the option allow_leakage true and have every "
            "table say so; leaked_samples drop leaves them out where they are few"
        )
    if near and not allow and (found := leakage.look_alike()):
        raise LeakageError(
            "; ".join(found) + ": look at them, take them out of the data, or set the option near_copies tell and have "
            "the notes of every table say so"
        )
    if unknown and not (allow or allow_unknown):
        raise LeakageError(
            "; ".join(unknown) + ": the samples of the stack may be among them. Start the members from weights that "
            "say what they were fitted on, such as a checkpoint of this project, give all data its groups, or set the "
            "option allow_unknown true and have every table say so"
        )


def leakage_mark(result: dict[str, Any]) -> str:
    """Return what the title of every table of a result says of overlaps, of unknown images and of changed data.

    Args:
        result: with its `leakage`, whose sentences `print_leakage` prints, perhaps `unknown_images` and `evaluations`
    """
    leakage = result.get("leakage") or {}
    marks = ["LEAKAGE ALLOWED"] if leakage.get("allowed") else []
    if sentences := leakage.get("unknown"):
        # a sentence begins with the name of the member
        names = dict.fromkeys(str(sentence).partition(" was ")[0] for sentence in sentences)
        marks.append(f"FITTED ON UNKNOWN IMAGES: {few(names)}")
    elif files := result.get("unknown_images"):
        marks.append(f"FITTED ON UNKNOWN IMAGES: {few(files)}")
    if leakage.get("changed") or result.get("evaluations", {}).get("test", {}).get("data_changed"):
        marks.append("DATA CHANGED SINCE TRAINING")
    if leakage.get("warnings") and not leakage.get("allowed"):
        marks.append("overlaps: see the notes")
    return "".join(f" — {mark}" for mark in marks)


def kind_of_samples(leaks: bool) -> str:
    """Name the samples that heads were fitted on and choices made by: held out from the members, unless these leak."""
    return "meta" if leaks else "held-out"


def leakage_allowed(leakage: Leakage | None) -> dict[str, str]:
    """Return the metadata of tensors of a stack: whether its members had seen its meta samples, or may have."""
    if leakage is None:
        return {}
    told = {
        "leakage_allowed": leakage.problems(),
        "unknown_images": leakage.unknown_images(),
        "data_changed": leakage.changed,
    }
    return {name: "; ".join(sentences) for name, sentences in told.items() if sentences}
