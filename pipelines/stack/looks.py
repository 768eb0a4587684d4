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

    Returns:
        the looks up to this one; None where it could not be written down
    """
    keys = {member.name: member_key(member.tested, tta) for member in members}
    below = sorted(keys.values())
    keys |= {name: model_key(head.state_dict(), name, below, temperatures.get(name)) for name, head in heads.items()}
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


def member_key(runs: Sequence[MemberRun], tta: TTA) -> str:
    """Name a member by the weights of its runs; that of a single run is the one that `test` of the run gives.

    Args:
        runs: whose mean predicts at test
        tta: views of each image
    """
    keys = []
    for run in runs:
        checkpoint = read_checkpoint(run.base.path, mapped=True)
        adjustment = checkpoint["architecture"]["init_args"].get("logit_adjustment")
        facts = {"logit_adjustment": adjustment} if adjustment else {}
        keys.append(model_key(checkpoint["state_dict"], facts))
    return keys[0] if len(keys) == 1 and tta == "none" else model_key({}, sorted(keys), tta)
