"""What follows the finished cells: a meta-model over the members."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from pipelines import table
from pipelines.cells import TRAIN, tail
from pipelines.plan import StackPlan
from pipelines.run_dir import RunDir


def meta_stage(plan: StackPlan, folder: Path, console: Console) -> int:
    """Fit the first head over the members, and test it.

    Args:
        plan: whose cells are finished
        folder: the experiment's
        console: where to report

    Returns:
        the exit status
    """
    if plan.mode == "oof":
        raise ValueError("mode oof has no meta stage yet")
    bases = [str(folder / member.name) for member in plan.members]
    head = plan.heads[0]
    options = {f"model.meta_model.init_args.{name}": value for name, value in asdict(head).items()}  # type: ignore
    words = [word for fragment in (*plan.fragments, *plan.members[0].fragments) for word in ("--config", fragment)]
    own = {
        **plan.options,
        "model": "StackingModule",
        "model.bases": bases,
        "model.train_on": "val" if plan.mode == "val" else "stack",
        "model.meta_model": type(head).__name__,
        **options,
    }
    words += [f"--{name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in own.items()]
    words += ["--run.root", str(folder.parent), "--run.experiment", folder.name, "--run.name", "stack"]
    run = RunDir(folder / "stack")
    for name, extra in (("fit", []), ("test", ["--ckpt_path", str(run.folder)])):
        log = folder / "logs" / f"stack-{name}.log"
        with log.open("w") as file:
            command = [sys.executable, str(TRAIN), name, *words, *extra]
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, check=False).returncode
        if status:
            raise ValueError(f"stack failed; the end of {log}:\n{tail(log)}")
    result = json.loads(run.result.read_text())
    console.print(table.stack_table(result))
    return 0
