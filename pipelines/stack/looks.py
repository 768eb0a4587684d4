"""A stack's look at the test split, for the ledger: which models were looked at."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ensembling.choices import TTA
from lightning_modules.checkpoints import read_checkpoint
from lightning_modules.stacked_classifier import beside_of_stack
from pipelines.stack.members import MemberRun, TrainedMember
from records.ledger import Looks, add_look, model_key
from records.run_dir import RunDir


def look_at_test(
    run: RunDir,
    fingerprint: str,
    members: Sequence[TrainedMember],
    heads: Mapping[str, nn.Module],
    temperatures: Mapping[str, float],
    tta: TTA,
    checkpoint: Mapping[str, Any],
    samples: int,
    again: Mapping[str, str] | None = None,
) -> Looks | None:
    """Write down that a stack's members and heads were looked at on the test samples.

    Args:
        run: the stack's folder
        fingerprint: of the test split
        members: with their runs
        heads: fitted, by name
        temperatures: by model
        tta: views of each image
        checkpoint: of the model that is kept, which `test` may look at again
        samples: how many test samples there are
        again: keys of the models of its repeats, by name

    Returns:
        the looks up to this one; None where it could not be written down
    """
    keys = {**keys_of(members, heads, temperatures, tta), **(again or {})}
    kept = model_key(checkpoint["state_dict"], {}, beside_of_stack(checkpoint["architecture"]["init_args"]))
    return add_look(
        run.ledger,
        fingerprint,
        "stack",
        f"{run.folder.absolute().parent.name}/{run.folder.name}",
        keys,
        [kept],
        checkpoint=str(run.stack),
        samples=samples,
    )


def keys_of(
    members: Sequence[TrainedMember], heads: Mapping[str, nn.Module], temperatures: Mapping[str, float], tta: TTA
) -> dict[str, str]:
    """Name the members and heads of a stack by what they say; see `look_at_test`."""
    keys = {member.name: member_key(member.tested, tta) for member in members}
    below = sorted(keys.values())
    return keys | {
        name: model_key(head.state_dict(), name, below, temperatures.get(name)) for name, head in heads.items()
    }


def member_key(runs: Sequence[MemberRun], tta: TTA) -> str:
    """Name a member by the weights of its runs; that of a single run is the one that `test` of the run gives.

    Args:
        runs: whose mean predicts at test
        tta: views of each image
    """
    keys = []
    for run in runs:
        checkpoint = read_checkpoint(run.base.path, mapped=True)
        options = checkpoint["architecture"]["init_args"]
        # as `evaluation_facts` of the model has them
        facts = {"logit_adjustment": options["logit_adjustment"]} if options.get("logit_adjustment") else {}
        facts |= {"tta": options["tta"]} if options.get("tta", "none") != "none" else {}
        keys.append(model_key(checkpoint["state_dict"], facts))
    return keys[0] if len(keys) == 1 and tta == "none" else model_key({}, sorted(keys), tta)
