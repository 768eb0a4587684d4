"""How sure runs are of their right and of their wrong predictions."""

from collections.abc import Sequence

from pipelines.report.comparison import ComparedRun
from pipelines.report.page import Table, TableCell


def confidence_table(runs: Sequence[ComparedRun]) -> Table | None:
    """Build the table of confidence; None where no run has predictions.

    Args:
        runs: tested on the same samples
    """
    rows = []
    for run in runs:
        if run.confidence:
            cells = []
            for name in ("right", "wrong"):
                mean, spread = (run.confidence.get(f"confidence_{name}{end}") for end in ("", "_sd"))
                small = "" if spread is None else f"± {spread:.4f}"
                cells.append(TableCell("–") if mean is None else TableCell(f"{mean:.4f}", mean, small))
            means = [run.confidence.get(f"confidence_{name}") for name in ("right", "wrong")]
            gap = None if None in means else (means[0] or 0.0) - (means[1] or 0.0)
            cells.append(TableCell("–") if gap is None else TableCell(f"{gap:.4f}", gap))
            rows.append([TableCell(run.label, run.label, style="warn" if run.leaks else ""), *cells])
    if not rows:
        return None
    columns = ["run", "of right predictions", "of wrong predictions", "difference"]
    caption = "confidence (the highest probability): mean ± standard deviation over samples"
    return Table(caption, columns, rows, [False, True, True, True])
