"""Fonts for class names in any script."""

from functools import cache

from matplotlib import font_manager, ft2font, rcParams

# matplotlib's own font comes first; after it, fonts of other scripts that systems usually have
FALLBACKS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans SC", "Noto Sans JP", "Source Han Sans SC", "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei", "Droid Sans Fallback", "IPAexGothic", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
    "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Arial Unicode MS", "Noto Sans Devanagari",
    "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Thai", "Noto Sans Bengali", "Noto Sans Tamil", "Unifont",
)  # fmt: skip


def use_fallbacks() -> None:
    """Let every text take a character that its font lacks from the first installed font that has it."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    rcParams["font.family"] = ["DejaVu Sans", *(name for name in FALLBACKS if name in installed)]


@cache
def characters() -> frozenset[int]:
    """Return the code points that the fonts in use have."""
    paths = [font_manager.findfont(name) for name in rcParams["font.family"]]
    return frozenset(code for path in paths for code in ft2font.FT2Font(path).get_charmap())


def missing(text: str) -> str:
    """Return the characters of a text that no font in use has, each once."""
    if text.isascii():
        return ""
    return "".join(dict.fromkeys(character for character in text if ord(character) not in characters()))


@cache
def tell_missing() -> None:
    """Say once that some names cannot be drawn."""
    # it imports Lightning, which takes seconds
    from common.warned import warn

    warn(
        "pictures show boxes for characters that no installed font has: install a font of their script, such as "
        "Noto Sans CJK (on Debian: apt install fonts-noto-cjk)"
    )
