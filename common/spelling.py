"""The known name that was probably meant."""

import difflib
from collections.abc import Iterable


def nearest(name: object, known: Iterable[str]) -> str:
    """Suggest the known name that is nearest to a misspelt one, as `; did you mean X?`, or nothing.

    Example:
        >>> nearest("--trainer.max_epoch", ["--trainer.max_epochs", "--run.name"])
        '; did you mean --trainer.max_epochs?'
    """
    # the case of a class name is easily mistaken
    folded = {other.lower(): other for other in known}
    # a key of YAML need not be a text
    close = difflib.get_close_matches(str(name).lower(), list(folded), n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]}?" if close else ""
