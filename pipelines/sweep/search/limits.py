"""What a trial's model costs, before it is trained: its parameters, and the time that it takes for an image."""

from typing import Any

from jsonargparse import Namespace

from common.machine import device_name
from datamodules import DataModule
from engine.device import choose_device
from ensembling.frozen_outputs import precision_context
from lightning_modules.speed import ms_per_image
from pipelines.cells.cell import Cell
from pipelines.cells.fit_parser import FitParser
from pipelines.cli.data_and_model import info_from_data, without_first_weights

# medians of which the least is taken: what else the machine does makes them longer
TIMES = 3


class Scales:
    """Weighs models that are not trained yet.

    Args:
        parser: of command lines
        limits: what a model must keep to, by name
    """

    def __init__(self, parser: FitParser, limits: dict[str, Any]) -> None:
        self.parser, self.limits = parser, limits
        # of the data that was built last: trials mostly share theirs
        self._data: tuple[str, DataModule] | None = None

    def costs(self, cell: Cell) -> dict[str, Any]:
        """Return what a cell's model costs, by the names of the limits, and on what it was measured.

        Args:
            cell: one of the trial
        """
        config = self.parser.parse(cell.settings)
        # they are not needed, and may have to be fetched
        data, options = self.data(config), without_first_weights(config.model)
        options.init_args.data_info = Namespace(info_from_data(data, options.init_args.get("data_info")).plain())
        model = self.parser.build(model=options).model
        found: dict[str, Any] = {"max_parameters": sum(weight.numel() for weight in model.parameters())}
        if "max_ms_per_image" in self.limits:
            found |= self._time(model, data, config.trainer)
        return found

    def data(self, config: Namespace) -> DataModule:
        """Build the data of a command line, or return that of the last one if it is the same."""
        key = repr(config.data)
        if self._data is None or self._data[0] != key:
            self._data = key, self.parser.build(data=config.data).data
        return self._data[1]

    def _time(self, model: Any, data: DataModule, trainer: Namespace) -> dict[str, Any]:
        samples = data.samples("val")
        samples = samples.subset(range(min(len(samples), data.batch_size)))
        images = samples.source.gather(samples.rows)
        device, _ = choose_device(str(trainer.accelerator))
        precision = str(trainer.precision or "32-true")
        with precision_context(precision, device):
            least = min(ms_per_image(model, images, device) for _ in range(TIMES))
        on = f"{device_name(device)}, {precision}, batch {len(images)}"
        return {"max_ms_per_image": round(least, 6), "measured on": on}


def beyond(costs: dict[str, Any], limits: dict[str, Any]) -> tuple[list[float], str]:
    """Say by which share costs are beyond limits.

    Args:
        costs: of a model, by the names of the limits
        limits: likewise

    Returns:
        a share above 0 for each limit that is not kept, and the same in words; empty if all are kept

    Example:
        >>> beyond({"max_parameters": 1500}, {"max_parameters": 1000})
        ([0.5], '1,500 parameters, and max_parameters is 1,000')
    """
    over = [costs[name] / limit - 1 for name, limit in limits.items()]
    words = {"max_parameters": "parameters", "max_ms_per_image": "ms an image"}
    told = [
        f"{costs[name]:,} {words[name]}, and {name} is {limit:,}"
        for name, limit in limits.items()
        if costs[name] > limit
    ]
    return over, "; ".join(told)
