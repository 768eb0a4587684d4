"""What code a result came from."""

import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def git_commit() -> str | None:
    """Return the commit of this code, with a plus if it was changed since; None outside a checkout."""
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """Return the versions that results may depend on."""
    packages = ("torch", "lightning", "timm", "torchmetrics")
    return {name: version(name) for name in packages} | {"python": platform.python_version()}


def print_version() -> None:
    """Print this project's version and those it runs on."""
    try:
        own = version("francesinha")
    except PackageNotFoundError:
        own = "(not installed)"
    parts = [f"{name} {version(name)}" for name in ("lightning", "torch", "timm")]
    print(", ".join([f"francesinha {own}", *parts, f"python {sys.version.split()[0]}"]))
