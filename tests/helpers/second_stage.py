"""Stacks of two small members, trained in this process."""

import io
import json

from rich.console import Console

from ensembling.heads.fitting import LogisticHead
from pipelines.main import main
from pipelines.stack.plan import Member, StackPlan
from pipelines.stack.second_stage import second_stage

QUICK = {
    "data.batch_size": 256,
    "trainer.max_epochs": 3,
    "trainer.accelerator": "cpu",
    "trainer.enable_progress_bar": False,
    "trainer.enable_model_summary": False,
}


def make(root, **changes):
    options = {**QUICK, **changes.pop("options", {})}
    members = [
        Member("small", ["configs/model/mlp.yaml"], {"model.hidden": [16]}, seed=1),
        Member("linear", ["configs/model/linear.yaml"], seed=2),
    ]
    defaults = {
        "members": members,
        "heads": [LogisticHead(C=1.0)],
        "root": str(root),
        "experiment": "x",
        "options": options,
        "seed": 3,
    }
    return StackPlan(**{**defaults, "logit_cache": str(root / "cache"), **changes})


def train(plan, folder):
    """Run a plan's cells one after the other, in this process."""
    for cell in plan.cells:
        assert main(cell.command(folder)) == 0
    return folder


def stacked(plan, folder):
    """Run the second stage; return what it printed and its result."""
    text = io.StringIO()
    assert second_stage(plan, folder, Console(file=text)) == 0
    return text.getvalue(), json.loads((folder / plan.stack_name / "result.json").read_text())
