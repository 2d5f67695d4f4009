"""Whether an utterance is complete, by rules over its last words and its melody. No weights, no download, under 3 ms.

Each cue is evidence, in log odds; their sum through the logistic function is the probability. The figures were set by
hand, and say no more than which cue outweighs which. Without words, or with words that have no cue, it is up to the
melody, around one half.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from speech_to_speech.turn.base import TurnRequest
from speech_to_speech.turn.rules.prosody import prosody
from speech_to_speech.turn.rules.words import LANGUAGES, Ending, Words
from speech_to_speech.workers.model import Job, ListJob, WorkerKind

# Evidence, in log odds, that the speaker has finished.
NO_CUE = 0.3
"""Words that say nothing either way: of the pauses in the middle, many follow a word that does."""
SAID = {Ending.FILLER: -3.0, Ending.OPEN: -2.5, Ending.STRANDED: -2.5, Ending.WEAK: -1.0, Ending.CLOSED: 2.0}
ANSWER = 2.5
QUESTION = 1.0
HALF_NUMBER, ONE_DIGIT, WHOLE_NUMBER = -2.5, -1.0, 0.5
QUESTION_WORDS = 4
"""A shorter question is too little of one: 'could you play', 'what is the'."""
HALF_CLAUSE = -1.5
MARKS = {"?": 2.5, "!": 1.5, ".": 1.0, "…": -2.5, ",": -2.0, "-": -2.0}
MELODY_MOST = 1.2
"""The melody counts for no more, however the voice sounds: the words say more."""

PHONE_DIGITS, CODE_DIGITS = 7, 4
CLAUSE_WORDS, CLAUSE_CHARACTERS = 8, 12
"""A longer utterance has room for the main clause too."""

_ASIDES = re.compile(r"\[[^\]]*\]|<[^>]*>|\([^)]*\)")  # STT notes noises so: [NOISE], <sil>, (laughs)
_SAME_MARKS = str.maketrans("？！。．，、；;：:—–’", "?!..,,,,,,,,'")  # a pause is marked in many ways
_WORD = re.compile(r"[^\W_]+(?:['-][^\W_]+)*'?")


class RulesDetector:
    """Knows English, French, Spanish, Chinese, Japanese and Korean; of others it hears only marks and melody."""

    worker: ClassVar[WorkerKind] = "thread"
    batch_limit: ClassVar[int] = 16
    needs_text: ClassVar[bool] = True

    @dataclass(frozen=True)
    class Options:
        pass

    def __init__(self, options: Options) -> None:
        pass

    def load(self) -> None:
        pass

    def warm_up(self) -> None:
        self.run([ListJob(TurnRequest(bytes(64_000), "ready", language)) for language in LANGUAGES])

    def run(self, jobs: Sequence[Job[TurnRequest, float]]) -> None:
        for job in jobs:
            if not job.cancelled:
                job.emit(complete(job.request))


def complete(request: TurnRequest) -> float:
    """The probability, 0 to 1, that the speaker has finished."""
    said, asks = of_words(request.text, request.language)
    return 1 / (1 + math.exp(-(said + of_melody(request.pcm, asks))))


def of_melody(pcm: bytes, asks: bool = False) -> float:
    """Evidence in how the voice ends: low and fading, or held up. A question may rise and yet be complete."""
    heard = prosody(pcm)
    level = -0.2 * heard.level_st  # 5 semitones down give 1
    slope = -0.02 * heard.slope_st_per_s  # a fall of 5 semitones in 300 ms gives 0.3
    fade = 0.05 * (heard.fade_db - 6) if heard.fade_db else 0.0  # any last sound is somewhat quieter
    pitch = max(level + slope, 0.0) if asks else level + slope
    return max(-MELODY_MOST, min(MELODY_MOST, pitch + max(-0.3, min(0.3, fade))))


def of_words(text: str, language: str) -> tuple[float, bool]:
    """Evidence in the words, and whether they are a question. Without words it is 0."""
    marked = unicodedata.normalize("NFC", _ASIDES.sub(" ", text)).lower().translate(_SAME_MARKS).strip(' \t\n"”“»«)')
    mark = "…" if marked.endswith(("...", "…")) else marked[-1:]
    found = _WORD.findall(marked)
    words = LANGUAGES.get(language)
    if not found:
        return 0.0, False
    if words is None:
        return MARKS.get(mark, 0.0), mark == "?"
    said = (" " if words.spaced else "").join(found)
    asks = mark == "?" or _asks(words, said)
    return _evidence(words, said, found, mark, asks), asks


def _evidence(words: Words, said: str, found: Sequence[str], mark: str, asks: bool) -> float:
    pause = min(MARKS.get(mark, 0.0), 0.0)
    if said in words.listed("answers"):
        return ANSWER + pause
    ending = words.ending(said)
    if ending is Ending.STRANDED and (asks or _asked_inside(words, found)):
        ending = None
    if ending in (Ending.FILLER, Ending.OPEN, Ending.STRANDED):
        # STT ends whatever it is given in a full stop; for a question mark it has reasons.
        return SAID[ending] + (MARKS["?"] if mark == "?" else 0.0)
    if (number := _number(words, said, found)) is not None:
        return number + pause
    if not asks and _half_clause(words, said, found):
        return HALF_CLAUSE + MARKS.get(mark, 0.0)
    if ending is not None:
        return SAID[ending] + MARKS.get(mark, 0.0)
    return MARKS.get(mark, NO_CUE) + (QUESTION if asks and mark not in MARKS else 0.0)


def _asks(words: Words, said: str) -> bool:
    if not words.spaced:
        return words.contains("asks", said)
    while opening := next((each for each in words.listed("fillers") if said.startswith(each + " ")), None):
        said = said[len(opening) + 1 :]
    if len(said.split()) < QUESTION_WORDS:
        return False
    return words.begins("asks", said) or words.begins("inverts", said)


def _asked_inside(words: Words, found: Sequence[str]) -> bool:
    """'I know who that is': the question word is shortly before the verb."""
    return any(word in words.listed("asks") for word in found[-5:-1])


def _half_clause(words: Words, said: str, found: Sequence[str]) -> bool:
    """'If it rains tomorrow': a short utterance that began with a conjunction lacks its main clause."""
    short = len(found) <= CLAUSE_WORDS if words.spaced else len(said) <= CLAUSE_CHARACTERS
    return short and words.begins("subordinates", said)


def _number(words: Words, said: str, found: Sequence[str]) -> float | None:
    """Evidence in a dictated number: are there as many digits as a telephone number or a code has? None without one."""
    digits, pieces, before = _last_digits(words, said, found)
    long = words.contains("dictates", before) or (pieces >= 3 and pieces == digits)
    short = words.contains("codes", before)
    if not digits or not (long or short):
        return None
    if digits >= (CODE_DIGITS if short else PHONE_DIGITS):
        return WHOLE_NUMBER
    return HALF_NUMBER if long or digits > 1 else ONE_DIGIT  # 'extension 5' may be all there is


def _last_digits(words: Words, said: str, found: Sequence[str]) -> tuple[int, int, str]:
    """How many digits are at the end, in how many pieces, and what was said before them."""
    spelled = words.listed("digits")
    digits = pieces = 0
    if words.spaced and not words.suffixes:
        at = len(found)
        while at and (found[at - 1] in spelled or found[at - 1].replace("-", "").isdecimal()):
            at -= 1
            pieces += 1
            digits += 1 if found[at] in spelled else len(found[at].replace("-", ""))
        return digits, pieces, " ".join(found[:at])
    rest = said
    while rest:
        last = next((entry for entry in spelled if rest.endswith(entry)), "")
        if not last and (rest[-1].isdecimal() or (digits and rest[-1] in "- ")):
            last = rest[-1]
        if not last:
            break
        rest = rest[: -len(last)]
        digits += last not in "- "
        pieces += last in spelled
    return digits, pieces, rest.strip()
