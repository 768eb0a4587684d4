"""Members of a stack whose data has changed since they were trained on it."""

from collections.abc import Mapping

from datamodules.base import DataModule
from datamodules.data_record import DataChangedError, changes, is_meant, record_of
from lightning_modules.checkpoints import Base


def changed_bases(bases: Mapping[str, Base], data: DataModule, allow: bool) -> list[str]:
    """Name the members whose data has changed since training; members of other data and changed splits do not count.

    Args:
        bases: by name
        data: that the head is trained on
        allow: continue in spite of it; the results must then say so

    Returns:
        one sentence a member

    Raises:
        DataChangedError: there is one
    """
    found = []
    for name, base in bases.items():
        if base.data is None or not is_meant(base.data, data):
            continue
        if phrases := changes(base.data, record_of(base.path), data, of_splits=False):
            found.append(f"{name} was trained on data that has changed since: {'; '.join(phrases)}")
    if found and not allow:
        raise DataChangedError(
            f"{'. '.join(found)}. Put the data back, train the members anew, or set the option allow_changed true and "
            f"have every table say so"
        )
    return found
