"""Overlaps between what a meta-model trains on and what its members have seen."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from datamodules.provenance import SEEN, Provenance
from datamodules.samples import Samples


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
        """Return one sentence for each member that may have been fitted on any image."""
        return [
            *(f"{name} was {unknown_images(['its own checkpoint'])}" for name in self.unknown),
            *(f"{name} was {unknown_images(files)}" for name, files in self.history.items()),
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
        return [*found, *self.notes]

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
            for field_name, mask in ((kind, shared), (f"{kind}_groups", related)):
                if mask.any():
                    counts.setdefault(field_name, {})[name] = int(mask.sum())
    found = Leakage(history={name: list(record.unknown) for name, record in bases.items() if record.unknown})
    return replace(found, **counts)


def join_leakage(parts: Iterable[Leakage]) -> Leakage:
    """Add up the overlaps of parts of the meta-training samples, such as folds, each compared with members of its own.

    Args:
        parts: the overlaps of each
    """
    counts: dict[str, Counter[str]] = {}
    unknown: dict[str, None] = {}
    history: dict[str, dict[str, None]] = {}
    changed: dict[str, None] = {}
    notes: dict[str, None] = {}
    for part in parts:
        unknown |= dict.fromkeys(part.unknown)
        changed |= dict.fromkeys(part.changed)
        notes |= dict.fromkeys(part.notes)
        for name, found in part.history.items():
            history.setdefault(name, {}).update(dict.fromkeys(found))
        for f in fields(part):
            if f.name not in ("unknown", "history", "changed", "notes"):
                counts.setdefault(f.name, Counter()).update(getattr(part, f.name))
    files = {name: list(names) for name, names in history.items()}
    joined = Leakage(unknown=list(unknown), history=files, changed=list(changed), notes=list(notes))
    totals: dict[str, Any] = {name: dict(count) for name, count in counts.items()}
    return replace(joined, **totals)


def refuse_leakage(leakage: Leakage, allow: bool, allow_unknown: bool = False) -> None:
    """Stop a meta-model from training on samples that its members were fitted on, or may have been.

    Args:
        leakage: the overlaps found
        allow: continue in spite of it; the results must then say so
        allow_unknown: accept members that may have been fitted on any image; the results must then say so

    Raises:
        LeakageError: there is an overlap with fitted samples, or a member that was fitted on unknown images
    """
    problems, unknown = leakage.problems(), leakage.unknown_images()
    if problems and not allow:
        raise LeakageError(
            "; ".join(problems) + ": train the members without these samples, on data that is split as the stack's is "
            "(fractions, split_seed and groups), or set the option allow_leakage true and have every table say so"
        )
    if unknown and not (allow or allow_unknown):
        raise LeakageError(
            "; ".join(unknown)
            + ": the samples of the stack may be among them. Start the members from weights that say "
            "what they were fitted on, such as a checkpoint of this project, or set the option allow_unknown true and "
            "have every table say so"
        )


def leakage_mark(result: dict[str, Any]) -> str:
    """Return what the title of every table of a result says of overlaps, of unknown images and of changed data.

    Args:
        result: with its `leakage`, whose sentences `print_leakage` prints, perhaps `unknown_images` and `evaluations`
    """
    leakage = result.get("leakage") or {}
    marks = ["LEAKAGE ALLOWED"] if leakage.get("allowed") else []
    if leakage.get("unknown") or result.get("unknown_images"):
        marks.append("FITTED ON UNKNOWN IMAGES")
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
