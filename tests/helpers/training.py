"""Short fits without the command line."""

import lightning.pytorch as pl


def trainer(folder, **options):
    """A Trainer that leaves only its checkpoints in a folder."""
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu",
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
        "default_root_dir": folder,
    }
    return pl.Trainer(**defaults | options)


def fit(model, data, folder, **options):
    """Fit, save the checkpoint as folder/model.ckpt, and return its path."""
    fitting = trainer(folder, enable_checkpointing=False, **options)
    fitting.fit(model, datamodule=data)
    path = folder / "model.ckpt"
    fitting.save_checkpoint(path)
    return path
