"""What a launcher, SLURM or torchrun, tells each of the processes that it starts together."""

import os
import socket
from pathlib import Path

# the folder of a job that `submit` has written, for the processes of the job
JOB_FOLDER = "FRANCESINHA_JOB_FOLDER"


def is_first_process() -> bool:
    """Tell whether this is the first of the processes that a launcher has started together, on whichever machine."""
    names = ("RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")
    return not any(int(os.environ.get(name) or 0) for name in names)


def was_restarted() -> bool:
    """Tell whether the cluster started this job again after it was stopped."""
    return any(int(os.environ.get(f"{launcher}_RESTART_COUNT", "0")) > 0 for launcher in ("SLURM", "TORCHELASTIC"))


def may_go_on() -> bool:
    """Tell whether a run whose folder has a state is to go on from it: the job was started again, or submitted so."""
    return was_restarted() or JOB_FOLDER in os.environ


def job_id() -> str | None:
    """Name the job that all processes of a launcher belong to, also after a restart; None where there is none."""
    environment = os.environ
    if "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" in environment:
        return f"{environment['SLURM_JOB_ID']}.{environment['SLURM_STEP_ID']}"
    if "TORCHELASTIC_RUN_ID" not in environment:
        return None
    run_id = environment["TORCHELASTIC_RUN_ID"]
    if run_id != "none":
        return run_id
    # torchrun's default id is the same for every job
    if int(environment.get("GROUP_WORLD_SIZE") or 1) > 1:
        return f"{environment.get('MASTER_ADDR')}:{environment.get('MASTER_PORT')}"
    # on one machine the processes share a parent
    return f"{socket.gethostname()}.p{os.getppid()}{_start_of(os.getppid())}"


def slurm_job() -> str | None:
    """Name this job as SLURM's commands do; None outside of SLURM."""
    environment = os.environ
    if "SLURM_ARRAY_JOB_ID" in environment and "SLURM_ARRAY_TASK_ID" in environment:
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID")


def _start_of(process: int) -> str:
    """Say when a process was started: its number is given to others later. Nothing where the system does not tell."""
    try:
        # the name of the program, in parentheses, may hold spaces
        return "." + Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
