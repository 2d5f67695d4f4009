"""Text in any of the languages."""

import re

CJK = re.compile(r"[぀-ヿ㐀-鿿가-힯]")  # characters that say about as much as a syllable


def join_text(so_far: str, piece: str) -> str:
    """Pieces of a reply as one text; a space between sentences, but not in scripts that have none."""
    gap = so_far and so_far[-1].isascii() and not so_far[-1].isspace() and not piece[:1].isspace()
    return so_far + (" " if gap else "") + piece
