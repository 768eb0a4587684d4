"""Which figures a run draws."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass, replace
from pathlib import Path

from lightning.pytorch.callbacks import Callback

from callbacks.drawing.base import Drawing
from callbacks.drawing.folder import DPI, FigureFolder, Format
from callbacks.drawing.given_images import GradCamOptions
from callbacks.drawing.grad_cam import GradCam
from callbacks.drawing.table import FIGURES, Figure
from common.ranges import check_ranges


@dataclass
class SharedOptions:
    """Options of all figures.

    Args:
        draw: false draws nothing
        fit: draw at the end of fit too: learning curves, and what was predicted on the best epoch's validation
        tensorboard: show figures in TensorBoard too
        images: how many images of each kind a gallery shows
        samples: how many samples' embeddings are drawn
        umap: embeddings in UMAP too; needs the extra umap
        dpi: dots an inch of the files
        format: of the files; TensorBoard and reports show pictures of any of them
    """

    draw: bool = True
    fit: bool = False
    tensorboard: bool = True
    images: int = 24
    samples: int = 2000
    umap: bool = False
    dpi: int = DPI
    format: Format = "png"

    def __post_init__(self) -> None:
        check_ranges("--figures", self, {"images": "[1, inf)", "samples": "[2, inf)", "dpi": "[20, 1200]"})
        if self.umap and not any("umap" in figure.takes for figure in self.chosen()):
            raise ValueError("--figures.umap needs --figures.embeddings true")
        # an extra that is missing is named before a run's folder is made
        self.callbacks()

    def chosen(self) -> list[Figure]:
        """Return the figures whose own options are true."""
        return [f.metadata["figure"] for f in fields(self) if "figure" in f.metadata and getattr(self, f.name)]

    def callbacks(self) -> list[Callback]:
        """Build the callbacks that draw."""
        chosen = self.chosen() if self.draw else []
        return [figure.kind(**{name: getattr(self, name) for name in figure.takes}) for figure in chosen]


def options_of(figures: Mapping[str, Figure]) -> type[SharedOptions]:
    """Make the options of figures: one that turns each on or off, beside those that they share.

    Args:
        figures: by the names of their options
    """
    switches = [
        (name, bool, field(default=figure.default, metadata={"figure": figure})) for name, figure in figures.items()
    ]
    texts = [f"    {name}: {help_of(figure)}" for name, figure in figures.items()]
    summary = "What is drawn into the run's `figures` folder and TensorBoard, at the end of test and validate."
    doc = "\n".join([summary, "", "Args:", *texts])
    content = {"__doc__": doc, "__module__": __name__}
    return make_dataclass("FigureOptions", switches, bases=(SharedOptions,), namespace=content)


def help_of(figure: Figure) -> str:
    """Return the first line of a callback's docstring as the help text of an option."""
    line = (inspect.getdoc(figure.kind) or "").partition("\n")[0].rstrip(".")
    return line[:1].lower() + line[1:]


FigureOptions = options_of(FIGURES)


def with_figures(
    callbacks: list[Callback], options: SharedOptions, folder: Path, run: Path, given: GradCamOptions | None = None
) -> list[Callback]:
    """Add the callbacks that draw, and tell all of them where to.

    Args:
        callbacks: those of the run; one that draws takes the place of the options' own of its kind
        options: what is drawn
        folder: of the figures
        run: the run's folder, where TensorBoard looks
        given: images and a class for Grad-CAM, which is drawn then
    """
    own = {type(callback) for callback in callbacks}
    if given is not None and given.wanted:
        options = replace(options, grad_cam=True)  # type: ignore[call-arg]
    both = [*callbacks, *(callback for callback in options.callbacks() if type(callback) not in own)]
    for callback in both:
        if isinstance(callback, GradCam) and given is not None:
            callback.given = given
    tell(both, FigureFolder(folder, run, options.tensorboard, options.dpi, options.format))
    return both


def tell(callbacks: Iterable[Callback], files: FigureFolder) -> None:
    """Tell callbacks that draw where to."""
    for callback in callbacks:
        if isinstance(callback, Drawing):
            callback.files = files
