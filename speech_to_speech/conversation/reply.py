"""A turn's reply, from the words that it answers to its sound: speculative at first, or certain from the start."""

from collections.abc import Awaitable, Callable

import anyio

from speech_to_speech.conversation.events import Event
from speech_to_speech.conversation.heard import Heard
from speech_to_speech.conversation.options import SessionOptions
from speech_to_speech.conversation.playout import Playout
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.frames import ToolCall, Transcript
from speech_to_speech.workers.request import Claim


class Reply:
    """What the steps of a turn share.

    Until it is certain nothing of it reaches the client: its events are held back, its sound waits in `until_certain`.
    What it answers was `spoken` or typed. `transcripts` are its words so far: those of the parts of a split utterance,
    and when `transcribed` also of `pcm`, the last part.
    `options` are those of the session when it was begun. An `answer` is said as it stands; the language model is not
    asked for one.
    """

    def __init__(
        self,
        record: TurnRecord,
        options: SessionOptions,
        playout: Playout,
        tell: Callable[[Event], Awaitable[None]],
        *,
        transcripts: list[Transcript],
        pcm: bytes | None = None,
        speculative: bool = False,
        answer: str = "",
    ) -> None:
        self.record = record
        self.options = options
        self.spoken = pcm is not None
        self.pcm = pcm or b""
        self.transcripts = transcripts
        self.transcribed = not self.spoken
        self.answer = answer
        self.language = ""
        """The language of the answer, which is chosen when the words of the question are there."""
        self.playout = playout
        self.heard = Heard()
        self.tool_calls: list[ToolCall] = []
        self.claim = Claim(speculative=speculative, name=record.turn_id)
        self.scope = anyio.CancelScope()
        self.failed = False
        """The speculation came to nothing."""
        self.judged = False
        """A turn detector has said how long to wait for its endpoint."""
        self._tell = tell
        self._held: list[Event] = []
        self._admitted = anyio.Event()
        self._certain = anyio.Event()

    @property
    def turn_id(self) -> str:
        return self.record.turn_id

    @property
    def question(self) -> str:
        return " ".join(part.text for part in self.transcripts if part.text)

    @property
    def language_heard(self) -> str:
        spoken = (part.language for part in reversed(self.transcripts) if part.text)
        return next(spoken, self.transcripts[-1].language if self.transcripts else self.options.language)

    @property
    def usable(self) -> bool:
        """What was done so far can become the turn's."""
        return not self.failed and not self.claim.evicted

    def take_words_of(self, failed: "Reply") -> None:
        """Spare a second transcript of the same speech."""
        if failed.transcribed:
            self.transcripts = failed.transcripts
            self.transcribed = True
            self.record.stt_s = failed.record.stt_s

    def cancel(self) -> None:
        """End all its work, and send nothing more of it."""
        self.playout.stop()
        self.scope.cancel()

    def admit(self) -> None:
        """Its utterance wants an answer."""
        self._admitted.set()

    async def until_admitted(self) -> None:
        await self._admitted.wait()

    async def make_certain(self) -> None:
        """The turn is taken: let the client have what was held back, in order, and all that follows."""
        while self._held:
            await self._tell(self._held.pop(0))
        self._certain.set()

    async def until_certain(self) -> None:
        await self._certain.wait()

    async def tell(self, event: Event) -> None:
        """Tell the client now, or when the turn is certain; what comes after a cancel, to nobody."""
        if self.scope.cancel_called:
            return
        if self._certain.is_set():
            await self._tell(event)
        else:
            self._held.append(event)
