"""The words of an utterance while it is being spoken, as text that only ever grows.

The utterance so far is transcribed again and again; the words in which two transcripts in a row agree are told and
stay. That is LocalAgreement-2 (Macháček, Dabre, Bojar: Turning Whisper into Real-Time Transcription System, 2023). The
final transcript may say otherwise, and counts.
"""

import logging
import re
from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from speech_to_speech.conversation.events import SpeechPartial
from speech_to_speech.conversation.stages.stt import SttStage
from speech_to_speech.errors import StageError
from speech_to_speech.frames import SpeechRequest
from speech_to_speech.text import CJK, join_text
from speech_to_speech.workers.worker import Claim, Evicted

logger = logging.getLogger(__name__)

TOKEN = re.compile(rf"{CJK.pattern}|(?:(?!{CJK.pattern})\S)+")  # words; in scripts without spaces, characters
NOT_WORD = re.compile(r"\W")


class StableText:
    """What of some hypotheses, each of the whole utterance so far, can be told."""

    def __init__(self) -> None:
        self._told: list[str] = []
        self._last: list[str] = []

    def push(self, hypothesis: str) -> str:
        """The text that has become stable, to be joined to what was told before; mostly empty."""
        tokens = TOKEN.findall(hypothesis)
        agreed = _common(self._last, tokens)
        self._last = tokens
        if agreed <= len(self._told) or _common(self._told, tokens) < len(self._told):
            return ""
        new = tokens[len(self._told) : agreed]
        self._told += new
        text = ""
        for token in new:
            text = join_text(text, token)
        return text


class Partials:
    """Partial transcripts of one conversation.

    Every `interval_ms` of speech, if STT has nothing else to do: under load they are the first that is shed.
    """

    def __init__(
        self,
        stt: SttStage,
        tell: Callable[[SpeechPartial], Awaitable[None]],
        tasks: TaskGroup,
    ) -> None:
        self._stt = stt
        self._language = ""
        self._interval_ms = 0.0
        self._tell = tell
        self._tasks = tasks
        self._turn_id: str | None = None
        self._stable = StableText()
        self._next_ms = 0.0
        self._busy = False

    def configure(self, language: str, interval_ms: float) -> None:
        """From now on, for the utterance that is being spoken too. No interval: there are none."""
        self._language, self._interval_ms = language, interval_ms

    @property
    def wanted(self) -> bool:
        return self._interval_ms > 0

    def begin(self, turn_id: str) -> None:
        """An utterance begins, or a part of a long one."""
        self._turn_id = turn_id
        self._stable = StableText()
        self._next_ms = 0.0

    def end(self) -> None:
        """What is still to come of it is the final transcript."""
        self._turn_id = None

    def on_speech(self, audio_ms: float, utterance: Callable[[], bytes]) -> None:
        """Speech goes on at `audio_ms`; `utterance` gives the audio so far."""
        if not self.wanted:
            return
        if not self._next_ms:
            self._next_ms = audio_ms + self._interval_ms
        if self._turn_id is not None and audio_ms >= self._next_ms and not self._busy and self._stt.worker.idle:
            self._next_ms = audio_ms + self._interval_ms
            self._busy = True
            self._tasks.start_soon(self._transcribe, self._stable, utterance())

    async def _transcribe(self, stable: StableText, pcm: bytes) -> None:
        try:
            request = SpeechRequest(pcm, self._language)
            transcript = await self._stt.worker.call(request, Claim(speculative=True))
        except (StageError, Evicted) as error:
            logger.debug("a partial transcript failed: %s", error)
        else:
            if stable is self._stable and self._turn_id is not None and (text := stable.push(transcript.text)):
                await self._tell(SpeechPartial(self._turn_id, text))
        finally:
            self._busy = False


def _common(one: list[str], other: list[str]) -> int:
    """How many words the two begin with in common, their case and punctuation aside."""
    for count, (a, b) in enumerate(zip(one, other, strict=False)):
        if NOT_WORD.sub("", a).casefold() != NOT_WORD.sub("", b).casefold():
            return count
    return min(len(one), len(other))
