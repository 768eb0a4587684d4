"""What a folder says of the job that works in it: which command, which job of the cluster, since when."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from records.fields import read_fields
from records.json_files import to_json
from records.whole_file import write_whole

# beside each other in the folder of a run, or of an experiment
NAME, SCRIPT = "job.json", "job.sh"
FIELDS = {"job": str, "command": [str], "log": str, "submitted": str}
WAY_OUT = "remove it; the job itself needs it no more"


@dataclass(frozen=True)
class JobFile:
    """A job that was handed to a cluster.

    Args:
        job: its id; that of a task of an array has the task's number, such as 12_3
        command: the command line of train.py that it runs
        log: file that takes what it prints, relative to the folder
        submitted: when, as ISO 8601 in UTC
    """

    job: str
    command: list[str]
    log: str
    submitted: str = ""

    def write(self, folder: Path) -> None:
        """Write it into a folder, as submitted now."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with write_whole(folder / NAME) as partial:
            partial.write_text(to_json({**vars(self), "submitted": now}))

    @classmethod
    def read(cls, folder: Path) -> "JobFile | None":
        """Read it from a folder; None where there is none.

        Raises:
            DamagedFileError: it is not what was written
        """
        path = folder / NAME
        if (found := read_fields(path, FIELDS, WAY_OUT)) is None:
            return None
        return cls(**{name: found[name] for name in FIELDS})

    @property
    def age(self) -> float:
        """Seconds since it was submitted."""
        try:
            return max(0.0, (datetime.now(UTC) - datetime.fromisoformat(self.submitted)).total_seconds())
        except ValueError:
            return 0.0
