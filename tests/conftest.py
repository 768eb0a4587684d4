import contextlib
import gc
import os
from pathlib import Path

import pytest
import torch

from common import class_paths
from pipelines.cli import changed_options
from records import launched, run_dir
from tests.helpers.data import write_image_folder
from tests.helpers.disk import no_wait_for_the_disk

# two cores: more threads than that only wait for each other, and processes beside each other share them
torch.set_num_threads(1 if "PYTEST_XDIST_WORKER" in os.environ else min(2, os.cpu_count() or 1))

no_wait_for_the_disk()


def pytest_collection_finish():
    """Let the garbage collector pass over all that was imported: Lightning's finders call it at each step."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def remembered_defaults():
    """A fit works out the defaults of its classes once more, to show what was changed; here they are kept."""
    known, work_out = {}, changed_options.defaults_of

    def defaults_of(parser, resolved):
        names = [resolved[part]["class_path"] for part in ("model", "data") if part in resolved]
        if not all(name.startswith(("lightning_modules.", "datamodules.")) for name in names):
            return work_out(parser, resolved)
        key = (parser.prog, *map(str, parser.default_config_files), *names)
        if key not in known:
            known[key] = work_out(parser, resolved)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changed_options, "defaults_of", defaults_of)
        yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """A run in this process must not hand its folder to the next."""
    own = (run_dir.ENVIRONMENT_VARIABLE, launched.JOB_FOLDER)
    for name in (*own, "RANK", "LOCAL_RANK", "SLURM_JOB_ID", "SLURM_STEP_ID", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def trust_nobody():
    """What one test trusts is nothing to the next."""
    class_paths.take_options([])


@pytest.fixture(scope="module")
def blank_figures():
    """Figures of a module are laid out and written, and stay blank: drawing them takes most of a report's time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    def save(figure, file, **options):
        with contextlib.nullcontext(file) if hasattr(file, "write") else Path(file).open("wb") as opened:
            opened.write(b"<svg></svg>")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        patch.setattr(FigureCanvasAgg, "draw", lambda canvas: canvas.get_renderer())
        yield


@pytest.fixture
def image_folder(tmp_path):
    """Class folders with train and test, 3 classes of small distinguishable images."""
    return write_image_folder(tmp_path / "images")
