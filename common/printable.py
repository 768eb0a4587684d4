"""Names as pages, pictures and logs can hold them."""


def printable(text: str) -> str:
    r"""Replace what neither a page nor a picture can hold: control characters and halves of characters.

    A half stands for a byte of a file's name that is not UTF-8.

    Args:
        text: such as a class's name

    Example:
        >>> printable("a\x01b")
        'a�b'
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else "\ufffd" for c in text)
