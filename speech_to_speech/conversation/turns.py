"""The replies of one conversation, from when a turn is taken to its one end.

taken       the reply becomes certain, and is the active one
cut         it is taken off before its end: interrupted, or cancelled
ended       it was cut, was heard to its end, or has failed; `TurnEnded` is told, and the session listens again
"""

import logging
import time
from collections.abc import Awaitable, Callable

import anyio
from anyio.abc import TaskGroup

from speech_to_speech.conversation import events
from speech_to_speech.conversation.client import Client, ClientGone
from speech_to_speech.conversation.dialogue import Dialogue
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.options import SessionOptions
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.playout import Playouts
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.stages.vad import VadStream
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import PlaybackUnknown, ReplyTooLong, SpeechToSpeechError
from speech_to_speech.frames import ChatRequest, Transcript
from speech_to_speech.workers.worker import Evicted

logger = logging.getLogger(__name__)

Ask = Callable[[Reply], Awaitable[ChatRequest | None]]


class Turns:
    """At most one reply is active, and who takes it off `reply` ends its turn.

    `stream` is the session's place in the VAD, `playouts` makes the way of each reply to the client.
    """

    def __init__(
        self,
        session_id: str,
        pipeline: Pipeline,
        metrics: Metrics,
        client: Client,
        stream: VadStream,
        playouts: Playouts,
        options: SessionOptions,
        tasks: TaskGroup,
    ) -> None:
        self.reply: Reply | None = None
        self.options = options
        self.dialogue = Dialogue(options, pipeline.speakable)
        self.noting = anyio.Lock()
        """Held while an utterance that wants no answer is on its way into the chat."""
        self.ended_at = 0.0
        """When the last turn ended (`time.monotonic`)."""
        self._session_id = session_id
        self._pipeline = pipeline
        self._metrics = metrics
        self._client = client
        self._stream = stream
        self._playouts = playouts
        self._tasks = tasks
        self._count = 0
        self._telling = anyio.Lock()  # the end of one turn is told before the beginning of the next
        self._interrupted: Reply | None = None
        """The chat's last reply, if it was interrupted: the client's last report on it may be to come."""

    def configure(self, options: SessionOptions) -> None:
        """Take other options for the replies from the next one on."""
        self.options = options
        self.dialogue.configure(options)

    @property
    def taking_turn(self) -> bool:
        """A reply is active, or its end not yet told."""
        return self.reply is not None or self._telling.locked()

    def report(self, turn_id: str, played_ms: float) -> None:
        """The client says how much of a reply has sounded; of an interrupted one the last report comes late."""
        for reply in (self.reply, self._interrupted):
            if reply is not None and reply.turn_id == turn_id:
                reply.playout.report(played_ms)
        if self._interrupted is not None and self._interrupted.turn_id == turn_id:
            self.dialogue.amend(turn_id, self._interrupted.playout.played_ms)

    def close(self) -> None:
        """The conversation is over; of the turn that goes on, if any, nothing more is told."""
        reply, self.reply = self.reply, None
        if reply is not None:
            reply.record.outcome = "cancelled"
            self._metrics.observe_turn(reply.record)
        self._interrupted = None

    async def tell_error(self, error: Exception, turn_id: str | None = None) -> None:
        event = events.Error.of(error, turn_id)
        logger.info("session=%s error=%s stage=%s turn=%s", self._session_id, event.code, event.stage, event.turn_id)
        self._metrics.errors.labels(event.code).inc()
        await self._client.send_event(event)

    # Begun, taken and ended.

    def new_record(self) -> TurnRecord:
        self._count += 1
        return TurnRecord(self._session_id, f"{self._session_id}-{self._count}")

    def new_reply(
        self,
        record: TurnRecord,
        transcripts: list[Transcript],
        pcm: bytes | None = None,
        *,
        speculative: bool = False,
        answer: str = "",
    ) -> Reply:
        return Reply(
            record,
            self.options,
            self._playouts.new(record, self.options.limits.max_reply_s),
            self._client.send_event,
            transcripts=transcripts,
            pcm=pcm,
            speculative=speculative,
            answer=answer,
        )

    async def run(self, reply: Reply, ask: Ask, forgives: Callable[[Exception], bool] = lambda error: False) -> None:
        """Do the work of a reply. A failure is that of its turn, unless `forgives` says that there is no turn yet."""
        with reply.scope:
            try:
                await self._pipeline.answer(reply, ask)
            except ClientGone:
                raise
            except Exception as error:
                if not isinstance(error, SpeechToSpeechError | Evicted):
                    told = (self._session_id, reply.turn_id)
                    logger.exception("session=%s turn=%s failed by a defect", *told, exc_info=error)
                if forgives(error):
                    return
                await reply.until_certain()
                await self._failed(reply, error)
            await self._until_played(reply)
        if self.reply is reply:
            self.reply = None
            await self._end(reply)

    async def take(self, reply: Reply, begun: events.Event) -> None:
        """The reply is certain, and its turn begins; there is no other."""
        self.reply = reply
        reply.admit()
        self._pipeline.make_way()
        async with self._telling:
            await self._client.send_event(begun)
            await reply.make_certain()

    async def _failed(self, reply: Reply, error: Exception) -> None:
        reply.record.outcome = "cut" if isinstance(error, ReplyTooLong) else "failed"
        reply.record.error = events.Error.of(error).code
        await self.tell_error(error, reply.turn_id)

    async def _until_played(self, reply: Reply) -> None:
        try:
            await reply.playout.wait_played()
            reply.record.heard_ms = reply.record.reply_ms
        except PlaybackUnknown as error:
            reply.record.heard_ms = reply.playout.played_ms
            await self._failed(reply, error)

    async def _end(self, reply: Reply, *last: events.Event) -> None:
        """Exactly one end for the turn of a reply that is active no more, unless the session ends."""
        record, reply.pcm = reply.record, b""
        if self.dialogue.keep(reply):
            self._interrupted = reply if record.outcome == "interrupted" else None
        try:
            async with self._telling:
                for event in last:
                    await self._client.send_event(event)
                if self.reply is None:  # a client that types is quick
                    self._stream.listen()
                await self._client.send_event(events.TurnEnded(record))
        except BaseException:
            record.outcome = "cancelled"
            raise
        finally:
            self.ended_at = time.monotonic()
            self._metrics.observe_turn(record)

    # Without speech.

    async def respond(self, text: str, answer: str) -> str:
        """Take a turn, when no reply is active; its id. `text` was typed, if any; an `answer` is said as it stands."""
        assert self.reply is None
        record = self.new_record()
        record.endpoint = record.speech_end = time.monotonic()
        reply = self.new_reply(record, [Transcript(text, self.options.language)] if text else [], answer=answer)
        self._tasks.start_soon(self.run, reply, self._ask)
        await self.take(reply, events.TurnRequested(reply.turn_id, text))
        return reply.turn_id

    async def _ask(self, reply: Reply) -> ChatRequest:
        async with self.noting:  # what was said before is in the chat
            return self.dialogue.request_for(reply)

    # Paused, and cut.

    async def pause(self) -> None:
        """Somebody speaks over the reply: no more of it is sent until it is clear what that is."""
        if (reply := self.reply) is not None and not reply.playout.paused:
            reply.playout.pause()
            await self._tell_of(reply, events.ReplyPaused(reply.turn_id, round(reply.playout.played_ms, 1)))

    async def resume(self, reply: Reply) -> None:
        if reply is self.reply and reply.playout.paused:
            reply.playout.resume()
            await self._tell_of(reply, events.ReplyResumed(reply.turn_id))

    async def _tell_of(self, reply: Reply, event: events.Event) -> None:
        """Tell of a reply that is active, when the client knows that its turn has begun."""
        async with self._telling:
            if reply is self.reply:
                await self._client.send_event(event)

    def cut(self) -> Reply | None:
        """Take the reply off, if there is one, and end its work; `tell_cut` is to follow."""
        reply, self.reply = self.reply, None
        if reply is not None:
            reply.cancel()
            reply.record.outcome = "interrupted"
            reply.record.heard_ms = round(reply.playout.played_ms, 1)
        return reply

    async def tell_cut(self, reply: Reply) -> None:
        await self._end(reply, events.ReplyInterrupted(reply.turn_id, reply.record.heard_ms))
