"""Options of a plan that are options of its cells, taken out of a command line before the plan's parser reads it."""

from collections.abc import Sequence

from pipelines.cli.errors import UsageError


def take_options(args: Sequence[str], prefix: str = "--options.") -> tuple[list[str], dict[str, str]]:
    """Take out of a command line what it sets in one of the plan's mappings.

    The parser would put `--options.data.fold` into a mapping `data`, in place of the data that the plan names.

    Args:
        args: the command line
        prefix: how it names what is in the mapping

    Returns:
        what is left, and the options by name, as typed

    Raises:
        UsageError: one has no value

    Example:
        >>> take_options(["--options.data.fold", "1", "--seed", "2"])
        (['--seed', '2'], {'data.fold': '1'})
    """
    rest: list[str] = []
    options: dict[str, str] = {}
    words = iter(args)
    for word in words:
        option, equals, value = word.partition("=")
        if not option.startswith(prefix):
            rest.append(word)
            continue
        value = value if equals else next(words, "--")
        if not equals and value.startswith("--"):
            raise UsageError(f"{option} needs a value")
        options[option.removeprefix(prefix)] = value
    return rest, options
