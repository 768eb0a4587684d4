"""The table of what `tune` has measured."""

import statistics
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from pipelines.tune.timing import MARGIN, Measurement, choose, keeps_loss


def compute_table(measurements: Sequence[Measurement]) -> Table:
    """Build the table of precisions and memory formats.

    Args:
        measurements: that of eager fp32 first
    """
    reference, chosen = measurements[0], choose(measurements)
    table = Table(title="training, against eager fp32 with channels first")
    compiled = any(m.candidate.torch_compile for m in measurements)
    settings = ("precision", "memory format", *(["compiled"] if compiled else []))
    for name in (*settings, "images/s", "ratio", "loss", ""):
        table.add_column(name, justify="right" if name in ("images/s", "ratio", "loss") else "left", no_wrap=bool(name))
    for m in measurements:
        candidate, ratio = m.candidate, m.ratio(reference)
        rate = f"{statistics.median(m.rates):,.0f}" if m.rates else "–"
        loss = f"{statistics.mean(m.losses[len(m.losses) // 2 :]):.4f}" if m.losses else "–"
        if m is chosen:
            verdict = "[bold]chosen[/]"
        elif m.error is not None:
            verdict = escape(f"failed: {m.error}")
        elif not keeps_loss(m.losses, reference.losses):
            verdict = "rejected: does not keep the loss"
        else:
            verdict = "" if m is reference else "not faster" if ratio <= MARGIN else "faster"
        setting = (candidate.precision, candidate.memory_format, "yes" if candidate.torch_compile else "")
        table.add_row(*setting[: len(settings)], rate, f"{ratio:.2f}" if m.rates else "–", loss, verdict)
    return table
