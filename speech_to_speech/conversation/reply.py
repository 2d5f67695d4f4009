"""A reply to one utterance, from its words to its sound: speculative at first, or certain from the start."""

from collections.abc import Awaitable, Callable

import anyio

from speech_to_speech.conversation.events import Event
from speech_to_speech.conversation.heard import Heard
from speech_to_speech.conversation.playout import Playout
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.frames import Transcript
from speech_to_speech.workers.worker import Claim


class Reply:
    """What the steps of a turn share.

    Until it is certain nothing of it reaches the client: its events are held back, its sound waits in `until_certain`.
    `heard` are the words so far: those of the parts of a split utterance, and when `transcribed` also of `pcm`.
    """

    def __init__(
        self,
        record: TurnRecord,
        pcm: bytes,
        heard: list[Transcript],
        speculative: bool,
        playout: Playout,
        tell: Callable[[Event], Awaitable[None]],
    ) -> None:
        self.record = record
        self.pcm = pcm
        self.transcripts = heard
        self.transcribed = False
        self.language = ""
        """That of the answer; there when its words are."""
        self.playout = playout
        self.heard = Heard()
        self.claim = Claim(speculative=speculative, name=record.turn_id)
        self.scope = anyio.CancelScope()
        self.error: Exception | None = None
        """Why a speculation came to nothing."""
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
        return next((part.language for part in reversed(self.transcripts) if part.text), self.transcripts[-1].language)

    @property
    def usable(self) -> bool:
        """What was done so far can become the turn's."""
        return self.error is None and not self.claim.evicted

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
