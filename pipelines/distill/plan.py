"""What a distillation is made of: a stack that teaches, a student, and seeds."""

from dataclasses import dataclass, field
from pathlib import Path

from common.lazy_seam import lazy
from common.ranges import SEEDS, check_range
from common.settings import dotted
from pipelines.cells.cell import Cell
from pipelines.cells.executors import CellExecutor, LocalExecutor
from records import run_dir
from records.run_dir import RunDir

ALONE, DISTILLED = "alone", "distilled"
# options that the plan sets by its own
TAKEN = {
    "run.root": "root",
    "run.experiment": "experiment",
    "run.name": "experiment",
    "seed_everything": "seeds",
    "ckpt_path": "experiment",
    "config": "fragments",
}
CALLBACK = "trainer.callbacks+"


@dataclass(eq=False)
class DistillPlan:
    """A student trained alone and by a stack, each with several seeds.

    Args:
        stack: folder of a finished stack, such as runs/cifar10_small/stack, or its checkpoint
        fragments: config files of the student: its model, the stack's data, and a trainer
        options: what it sets beyond its fragments, by the names of the command line
        weight: share of the stack in the student's targets; the rest is the label
        temperature: the stack's logits are divided by it; above 1 its distributions are flatter
        augmented: let the whole stack say what it sees in each batch as it is augmented, rather than what it said
            out-of-fold of each image as it is. It was fitted on these images, and runs in each step
        seeds: of the trainings; each trains the student alone and distilled
        experiment: folder of the runs; the same plan continues in the same folder
        root: folder of all experiments
        executor: where the cells run
        retries: how often a cell that failed is started again
        page: write the report's page of the experiment at the end
        fresh: start in a new folder, experiment-2, -3, ..., where the experiment exists
        dry_run: check the stack, the data and each command line, print how many cells are done, and start nothing
    """

    stack: str
    fragments: list[str] = field(default_factory=list)
    options: dict = field(default_factory=dict)
    weight: float = 0.5
    temperature: float = 1.0
    augmented: bool = False
    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    experiment: str = "distilled"
    root: str = "runs"
    executor: CellExecutor = lazy(LocalExecutor)
    retries: int = 1
    page: bool = True
    fresh: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        self.options = dotted(self.options)
        check_range("--weight", self.weight, "(0, 1]")
        check_range("--temperature", self.temperature, "(0, inf)")
        check_range("--retries", self.retries, "[0, inf)")
        check_range("--seeds", self.seeds, SEEDS)
        run_dir.RunOptions(self.root, self.experiment, self.experiment)
        if len(self.seeds) < 2 or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds must be at least two different ones, not {self.seeds}: three or more tell more")
        for option in self.options:
            if option in TAKEN:
                raise ValueError(f"{option} in options is set by the plan: use its {TAKEN[option]}")

    @property
    def teacher(self) -> RunDir:
        """The folder of the stack.

        Raises:
            FileNotFoundError: there is no finished stack
        """
        path = Path(self.stack)
        run = RunDir(path) if path.is_dir() else run_dir.of_checkpoint(path)
        if run is None or not run.stack.is_file():
            raise FileNotFoundError(
                f"--stack {self.stack}: there is no finished stack; name the folder of one, such as runs/NAME/stack, "
                f"after python train.py stack --config configs/stack/NAME.yaml"
            )
        return run

    def cells(self, digest: str) -> list[Cell]:
        """Return the runs, alone and distilled by turns.

        Args:
            digest: SHA-256 of the stack's checkpoint
        """
        taught = {
            "class_path": "SoftTargets",
            "init_args": {
                "stack": str(self.teacher.stack.absolute()),
                "out_of_fold": not self.augmented,
                "weight": self.weight,
                "temperature": self.temperature,
                "digest": digest,
            },
        }
        cells = []
        for seed in self.seeds:
            options = {**self.options, "seed_everything": seed}
            for name, more in ((ALONE, {}), (DISTILLED, {CALLBACK: taught})):
                cells.append(Cell(f"{name}-seed{seed}", name, tuple(self.fragments), {**options, **more}))
        return cells
