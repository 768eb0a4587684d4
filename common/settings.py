"""Options as flat settings: to compare runs, and to show in what they differ."""

import json
from collections.abc import Mapping
from typing import Any

Settings = dict[str, str]


# options that change nothing in what is trained
IGNORED_IN_COMPARISON = (
    "run",
    "ckpt_path",
    "config",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.log_every_n_steps",
    "progress_bar",
    "model_summary",
    "last_checkpoint",
    "data.num_workers",
    "data.stage_dir",
)
# options that a comparison of runs need not show, or that follow from others
LEFT_OUT = (
    *IGNORED_IN_COMPARISON,
    "weights_only",
    "figures.",
    "trainer.enable_",
    "trainer.logger",
    "trainer.default_root_dir",
    "lr_monitor",
    "best_checkpoint.dirpath",
    "data.cache",
    "model.data_info",
)


def settings_of(config: Mapping[str, Any]) -> Settings:
    """Flatten a config to the names of the command line, without what changes nothing in what is trained.

    Args:
        config: what config.yaml holds

    Example:
        >>> settings_of({"model": {"class_path": "lightning_modules.MLP", "init_args": {"width": 8}}, "run": {"a": 1}})
        {'model': 'MLP', 'model.width': '8'}
    """
    found = {name: value for name, value in flat(config).items() if not name.startswith(LEFT_OUT) and value != {}}
    return {n: value if isinstance(value, str) else json.dumps(value, default=str) for n, value in found.items()}


def dotted(options: Mapping[str, Any]) -> dict[str, Any]:
    """Name nested options as the command line does; later ones win.

    Args:
        options: as a plan, or `--options.data.fold 1`, gives them

    Example:
        >>> dotted({"data.val_fraction": 0.1, "data": {"val_fraction": 0.2}, "trainer": {"max_epochs": 3}})
        {'data.val_fraction': 0.2, 'trainer.max_epochs': 3}
    """
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, dict) and value and "class_path" not in value:
            flat |= {f"{name}.{inner}": deeper for inner, deeper in dotted(value).items()}
        else:
            flat[name] = value
    return flat


def flat(config: Any, prefix: str = "") -> dict[str, Any]:
    """Name all settings of a configuration as the command line does.

    Args:
        config: plain types
        prefix: of the names

    Example:
        >>> flat({"trainer": {"devices": 1}, "model": {"class_path": "modules.MLP", "init_args": {"dropout": 0}}})
        {'trainer.devices': 1, 'model': 'MLP', 'model.dropout': 0}
    """
    settings: dict[str, Any] = {}
    for name, value in config.items():
        key = f"{prefix}{name}"
        if name == "class_path":
            # a class without a name of its own, at the top of a file
            settings[key] = str(value).rpartition(".")[2]
        elif name == "init_args" and isinstance(value, dict):
            settings |= flat(value, prefix)
        elif isinstance(value, dict) and "class_path" in value:
            # the module of a class is no setting
            settings[key] = value["class_path"].rpartition(".")[2]
            settings |= flat(value.get("init_args") or {}, f"{key}.")
        elif isinstance(value, dict) and value:
            settings |= flat(value, f"{key}.")
        else:
            settings[key] = value
    return settings
