"""The command line, run in this process."""

import json

import yaml

from pipelines.main import main

# options of a fit that takes a second
MLP = ("--model", "MLP", "--model.hidden", "[16]", "--trainer.max_epochs", "2")


def run(*args, root=None, quick=True):
    """Run a command and return its exit status; checkpoints and configs may name the tests' own classes."""
    words = [str(arg) for arg in args]
    if quick:
        words += ["--allow", "tests"]
    if root is not None:
        words += ["--run.root", str(root)]
    if quick:
        words += ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
        words += ["--trainer.accelerator", "cpu"]
    if quick and words[0] in ("validate", "test") and not any(word.startswith("--figures.") for word in words):
        words += ["--figures.draw", "false"]
    return main(words)


def result(root, experiment="digits", name="mlp"):
    return json.loads((root / experiment / name / "result.json").read_text())


def config(root, experiment="digits", name="mlp", file="config.yaml"):
    return yaml.safe_load((root / experiment / name / file).read_text())
