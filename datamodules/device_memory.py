"""Samples held in the memory of the device that trains on them, where a batch is gathered without the host."""

from dataclasses import replace

import torch
from torch import Tensor

from datamodules.samples import OPTIONAL, Samples, TensorSource

# of the memory that is free before training: models, activations and other processes need the rest
SHARE = 0.25


class DeviceMemory:
    """Copies on devices, one of each tensor, which all splits of a data set share."""

    def __init__(self) -> None:
        self._copies: list[tuple[Tensor, Tensor]] = []

    def hold(self, samples: Samples, device: torch.device) -> Samples:
        """Return the same samples with all that batches are gathered from on a device.

        Args:
            samples: whose inputs are one tensor
            device: that trains
        """
        source = samples.source
        assert isinstance(source, TensorSource)
        columns = {name: getattr(samples, name) for name in ("rows", "labels", "ids", *OPTIONAL)}
        # what is copied while a split is validated has to serve training too
        with torch.inference_mode(False):
            moved = {name: column.to(device) for name, column in columns.items() if column is not None}
            held = replace(source, tensor=self._copy(source.tensor, device), in_memory=True)
        return replace(samples, source=held, **moved)

    def _copy(self, tensor: Tensor, device: torch.device) -> Tensor:
        for original, copy in self._copies:
            if original is tensor and copy.device == device:
                return copy
        self._copies.append((tensor, tensor.to(device)))
        return self._copies[-1][1]

    def has_room(self, source: TensorSource, device: torch.device) -> bool:
        """Tell whether a tensor is held there already, or takes a small part of what is free there.

        Args:
            source: of the samples
            device: that trains
        """
        if device.type != "cuda":
            return False
        if any(original is source.tensor and copy.device == device for original, copy in self._copies):
            return True
        return source.tensor.nbytes <= SHARE * torch.cuda.mem_get_info(device)[0]
