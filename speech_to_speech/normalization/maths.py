"""The simple part of LaTeX and of powers written with ^: enough for x squared and a fraction or two."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language
from speech_to_speech.normalization.tracked import Tracked

# A formula begins and ends with no space inside; a dollar before a digit is money, so "$5 and $6" is none.
INLINE = re.compile(
    r"(?<![\w$])(\$\$?)(?!\s)([^$\n]{1,300})(?<![\s\\])\1(?![\w$])|\\\(([^\n]{1,300}?)\\\)|\\\[([^\n]{1,300}?)\\\]"
)
FORMULA = re.compile(r"[\\^_=<>]|[A-Za-z)\d]\s*[+*/-]\s*[A-Za-z(\d]|\A\W*[A-Za-z]\W*\Z|\A[^\s]*[A-Za-z][^\s]*\Z")
POWER = re.compile(r"(?<=[\w)\]}])\^(?:\{([^{}\n]{1,30})\}|([-−]?\w{1,10}))")
INDEX = re.compile(r"_(?:\{([^{}\n]{1,30})\}|(\w))")
FRACTION = re.compile(r"\\[dt]?frac\s*\{([^{}]{0,100})\}\s*\{([^{}]{0,100})\}")
ROOT = re.compile(r"\\sqrt\s*(?:\[[^\]]{0,10}\])?\s*\{([^{}]{0,100})\}")
WORDS = re.compile(r"\\(?:text|mathrm|mathbf|mathit|operatorname)\s*\{([^{}]{0,100})\}")
COMMAND = re.compile(r"\\([A-Za-z]+|[,;:!> ])")
DEEPEST = 4  # fractions within each other

SIGNS = {
    **{"times": "×", "cdot": "×", "div": "÷", "pm": "±", "le": "≤", "leq": "≤", "ge": "≥", "geq": "≥", "ne": "≠"},
    **{"neq": "≠", "approx": "≈", "infty": "∞", "lt": "<", "gt": ">", "degree": "°", "circ": "°"},
    **{"to": ", ", "rightarrow": ", ", "Rightarrow": ", ", "ldots": "…", "cdots": "…", "dots": "…", "quad": " "},
}
SILENT = frozenset({"left", "right", "displaystyle", "limits", "big", "Big", "mathbb", "mathcal", "vec", "hat", "bar"})


def say_maths(tracked: Tracked, language: Language) -> None:
    text = tracked.text
    if "$" in text or "\\" in text:
        tracked.sub(INLINE, lambda match: _formula(match, language))
    if "^" in text:
        tracked.sub(POWER, lambda match: _power(match, language))


def _formula(match: Any, language: Language) -> str | None:
    body: str = match[2] or match[3] or match[4]
    if match[2] and not FORMULA.search(body):
        return None
    if match[2] and re.match(r"\d[\d.,]*\s+[A-Za-z]+\s", body):
        return None  # the dollar signs are those of two prices
    gap = " " if language.spaced else ""
    maths = language.maths
    for _ in range(DEEPEST):
        body = WORDS.sub(r" \1 ", body)
        body = ROOT.sub(lambda root: f"{maths.get('sqrt', '')} {root[1]}", body)
        body = FRACTION.sub(lambda part: f"{part[1]}{gap}{maths.get('frac', '/')}{gap}{part[2]}", body)
    body = POWER.sub(lambda power: _power(power, language), body)
    body = INDEX.sub(lambda index: f" {index[1] or index[2]}", body)
    body = COMMAND.sub(lambda command: _command(command[1], language), body)
    body = body.replace("-", "−").translate({ord("{"): None, ord("}"): None})
    return f" {body.strip()} " if language.spaced else body.strip()


def _command(name: str, language: Language) -> str:
    if name in SILENT or not name[0].isalpha():
        return " "
    return SIGNS.get(name) or f" {language.maths.get(name, name)} "


def _power(match: Any, language: Language) -> str:
    exponent: str = match[1] or match[2]
    if exponent in ("2", "3"):
        return {"2": "²", "3": "³"}[exponent]
    return language.power(exponent)
