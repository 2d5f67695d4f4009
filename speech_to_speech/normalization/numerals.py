"""Numbers as they are written and as they are spelled out.

The words come from Unicode's rules for spelling out numbers (CLDR, RBNF) through `unicode-rbnf`
(https://github.com/rhasspy/unicode-rbnf, MIT).
"""

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unicode_rbnf import RbnfEngine

LONGEST = 15  # digits; a longer number is said digit by digit, and the library ends at 10 ** 18

# These languages have a decimal comma, and dots or spaces between thousands.
COMMA_LANGUAGES = (
    "af az be bg bs ca cs da de el es et eu fi fo fr gl hr hu hy id is it ka kk lb lt lv mk mn nl nn no pl pt ro ru "
    "sk sl sq sr sv tg tk tr uk uz vi"
)
ENGINES = {"tl": "fil"}  # CLDR has another code for this language

WITH_POINT = r"[1-9]\d{0,2}(?:,\d{3})+(?!\d)(?:\.\d+)?|\d+(?:\.\d+)?|(?<![\w)])\.\d+"
WITH_COMMA = (
    r"[1-9]\d{0,2}(?:\.\d{3})+(?![.\d])(?:,\d+)?|[1-9]\d{0,2}(?: \d{3})+(?!\d)(?:,\d+)?"
    r"|[1-9]\d{0,2}(?:,\d{3})+\.\d+|\d+(?:[.,]\d+)?"
)
SIGN = r"(?<![0-9A-Za-z_\u00c0-\u1fff)\]%°€$£¥])[-−–]"  # a minus, no hyphen; in Chinese a letter may stand before one


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it was written: its sign, the digits of its whole part, its decimal mark and the digits behind it."""

    negative: bool
    whole: str
    mark: str = ""
    part: str = ""

    @property
    def value(self) -> int:
        """Of the whole part."""
        return int(self.whole)

    @property
    def is_whole(self) -> bool:
        return not self.part

    @property
    def is_code(self) -> bool:
        """Its digits are said one by one: it begins with a zero, or is long and not round."""
        digits = self.whole
        long = len(digits) > LONGEST or (len(digits) >= 8 and not digits.endswith("000"))
        return (len(digits) > 1 and digits[0] == "0") or (long and self.is_whole) or len(digits) > LONGEST


def read_number(written: str, decimal: str) -> Number:
    """Read what matched WITH_POINT or, with a decimal comma, WITH_COMMA; a sign may stand before it."""
    negative = written[0] in "-−–"
    digits = written.lstrip("-−–")
    if decimal == ",":
        last = max(digits.rfind(","), digits.rfind("."))
        groups = digits.count(".") > 1 or (digits.count(".") == 1 and "," not in digits and len(digits) - last == 4)
        if last < 0 or (groups and digits[last] == "." and digits[0] != "0"):
            return Number(negative, digits.replace(".", "").replace(" ", ""))
        whole, mark, part = digits[:last], digits[last], digits[last + 1 :]
    else:
        whole, mark, part = digits.partition(".")
    return Number(negative, "".join(digit for digit in whole if digit.isdigit()) or "0", mark, part)


@functools.cache
def engine(code: str) -> "RbnfEngine | None":
    """The rules of a language; None if there are none."""
    from unicode_rbnf import RbnfEngine

    try:
        return RbnfEngine.for_language(ENGINES.get(code, code))
    except ValueError:
        return None


@functools.cache
def default_rules(code: str) -> str:
    """The name of the rules for numbers without a noun; empty if the language has none."""
    rules = engine(code)
    names = [name for name, each in rules.rulesets.items() if not each.is_private] if rules else []
    cardinal = [name for name in names if name.startswith("spellout-cardinal") and "verbose" not in name]
    return next((name for name in ("spellout-numbering", *cardinal) if name in names), "")


@functools.lru_cache(maxsize=4096)
def spell(code: str, number: int, rules: str = "") -> str:
    """A number of at most `LONGEST` digits in the words of a language that has rules, by those of this name."""
    numbers = engine(code)
    assert numbers is not None
    return numbers.format_number(number, ruleset_names=[rules or default_rules(code)]).text


@functools.cache
def decimal_point(code: str) -> str:
    """The word for the decimal mark, empty if the rules of the language have none."""
    from unicode_rbnf import engine as library

    numbers = engine(code)
    for rules in numbers.rulesets if numbers else ():
        if numbers is not None and rules.startswith(("spellout-numbering", "spellout-cardinal")):
            try:
                words, one = (numbers.format_number(number, ruleset_names=[rules]).text for number in ("1.1", "1"))
            except library.RbnfError:
                continue
            if words.startswith(one) and words.endswith(one):
                return words[len(one) : -len(one)].strip()
    return ""
