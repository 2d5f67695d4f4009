"""URLs and e-mail addresses, in short: who they belong to, not what stands behind the slash."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language
from speech_to_speech.normalization.tracked import Tracked

# The ends of domains that are no words at the end of a sentence whose next one follows without a space.
DOMAINS = (
    "com|org|net|edu|gov|mil|int|info|biz|io|ai|dev|app|co|tv|uk|us|ca|au|nz|eu|de|fr|es|ch|nl|pl|pt|se|dk|fi|cz|ru|ua|"
    "br|mx|ar|cl|pe|cn|hk|tw|jp|kr|sg|in|id|th|vn|za|wiki|blog|cloud|online|site|tech|store|xyz"
)
FILES = (
    "js|ts|py|md|txt|json|ya?ml|toml|html?|css|csv|xml|pdf|docx?|xlsx?|pptx?|png|jpe?g|gif|svg|mp[34]|wav|zip|sh|exe|rs|go|"
    "cpp|java|NET"
)
LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
EMAIL = re.compile(rf"(?:mailto:)?(?<![A-Za-z0-9_.+-])([A-Za-z0-9_.+-]{{1,64}})@((?:{LABEL}\.)+[A-Za-z]{{2,24}})(?!\w)")
URL = re.compile(
    r"<?(?<![A-Za-z0-9])(?:https?|ftp)://(?:www\.)?([^\s/?#<>\"'，。、；：！？（）「」]{1,253})([^\s<>\"，。、；：！？（）「」]*)>?",
    re.IGNORECASE,
)
END = re.compile(r"[.,;:!?)\]}'*_]+\Z")
DOMAIN = re.compile(
    rf"(?<![A-Za-z0-9_@.-])(?:www\.)?((?:{LABEL}\.){{1,8}}(?:{DOMAINS}))(?![A-Za-z0-9_-]|\.[A-Za-z0-9])(?:/[^\s<>\"，。、；：！？（）]*)?",
    re.IGNORECASE,
)
FILE = re.compile(rf"(?<=[A-Za-z0-9_-])\.(?=(?:{FILES})(?![A-Za-z0-9]))")


def say_links(tracked: Tracked, language: Language) -> None:
    text = tracked.text
    if "@" in text:
        tracked.sub(
            EMAIL,
            lambda match: language.apart(
                match, f"{_spelled(match[1], language)} {language.at} {_host(match[2], language)}"
            ),
        )
    if "://" in text:
        tracked.sub(URL, lambda match: _url(match, language))
    if "." in text:
        tracked.sub(DOMAIN, lambda match: language.apart(match, _host(match[1], language) + _after(match[0])))
        tracked.sub(FILE, f" {language.dot} ")


def _url(match: Any, language: Language) -> str:
    host, rest = match[1], match[2]
    after = _after(host + rest)
    if not rest:
        host = host[: len(host) - len(after)]
    host = host.rpartition("@")[2].partition(":")[0]
    return language.apart(match, _host(host, language)) + after


def _after(written: str) -> str:
    """The marks behind an address that belong to the sentence."""
    end = END.search(written)
    marks = end[0] if end else ""
    within = written.count("(") - (written.count(")") - marks.count(")"))  # brackets that end within the address
    return "".join(mark for mark in marks.replace(")", "", max(within, 0)) if mark in ".,;:!?)")


def _host(host: str, language: Language) -> str:
    """`www.my-shop.co.uk` as words."""
    return _spelled(host.removeprefix("www.").strip("."), language)


def _spelled(name: str, language: Language) -> str:
    words = {".": language.dot, "-": language.dash, "_": language.underscore, "+": language.signs.get("+", "")}
    return "".join(f" {words[each]} " if each in words else each for each in name).replace("  ", " ").strip()
