"""Whose turn it is: the person's, whose utterance grows, or the service's, whose reply plays; in full duplex both.

    soft end    a speculative reply is begun
    resumed     it is cancelled, and the utterance grows
    endpoint    the reply becomes certain: the turn, which ends with exactly one `TurnEnded`
    barge-in    speech over the reply pauses it; its length or its words interrupt it, or else it resumes

docs/turn-taking.md has the whole picture; `turns.Turns` has the replies.
"""

import dataclasses
import functools
import logging

import anyio
from anyio.abc import TaskGroup

from speech_to_speech.conversation import events
from speech_to_speech.conversation.backchannel import is_backchannel
from speech_to_speech.conversation.client import Client
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.options import SessionOptions, TurnDetection
from speech_to_speech.conversation.partials import Partials
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.stages.turn import TurnStage
from speech_to_speech.conversation.stages.vad import VadStream
from speech_to_speech.conversation.turns import Turns
from speech_to_speech.conversation.utterance import LeftOver, Utterance
from speech_to_speech.errors import StageError
from speech_to_speech.frames import (
    ChatRequest,
    SoftEnd,
    VadEvent,
    VadFailed,
    VoiceContinued,
    VoiceDiscarded,
    VoiceResumed,
    VoiceSplit,
    VoiceStarted,
    VoiceStopped,
    pcm_bytes,
)
from speech_to_speech.turn.base import TurnRequest
from speech_to_speech.workers.worker import Claim, Evicted

logger = logging.getLogger(__name__)

LONGEST_PAUSE_S = 2.0
"""A reply is paused no longer than this for words that don't come."""
LONGEST_UNHEARD_BYTES = pcm_bytes(60_000)
"""A client that cancels turn after turn makes the next utterance no longer than by this."""


class Floor:
    """The utterances of one conversation: which of them become turns, and which interrupt a reply.

    `stream` is the session's place in the VAD.
    """

    def __init__(
        self,
        turns: Turns,
        pipeline: Pipeline,
        metrics: Metrics,
        client: Client,
        stream: VadStream,
        tasks: TaskGroup,
    ) -> None:
        self._turns = turns
        self._pipeline = pipeline
        self._metrics = metrics
        self._client = client
        self._stream = stream
        self._tasks = tasks
        self._partials = Partials(pipeline.stt, client.send_event, tasks)
        self._utterance: Utterance | None = None
        self._undecided: list[Utterance] = []
        """Complete utterances that were said over a reply. Their words say, in order, what they are."""
        self._closer = anyio.CancelScope()  # the scope of `_listen_closer`
        self._left_over = LeftOver()
        self.configure(turns.options)

    def configure(self, options: SessionOptions) -> None:
        """From now on, for the utterance that is being spoken too."""
        self._options = options
        self._detection = options.turn_detection or TurnDetection()
        self._partials.configure(options.language, options.partial_interval_ms)

    async def on_speech(self, event: VadEvent, now: float) -> None:
        """React to what the VAD said at `now` (`time.monotonic`)."""
        utterance = self._utterance or Utterance(self._turns.new_record())
        match event:
            case VoiceStarted(audio_ms):
                self._utterance, self._closer = utterance, anyio.CancelScope()
                left_over, self._left_over = self._left_over, LeftOver()
                utterance.transcripts, utterance.unheard = left_over.transcripts, left_over.unheard
                self._partials.begin(utterance.turn_id)
                await self._client.send_event(events.SpeechStarted(utterance.turn_id, audio_ms))
            case VoiceContinued():
                self._partials.on_speech(event.audio_ms, self._stream.utterance)
                await self._talk_over(utterance, event.voiced_ms)
            case SoftEnd():
                self._speculate(utterance, event)
            case VoiceResumed():
                self._drop_speculation(utterance)
                await self._talk_over(utterance, event.voiced_ms)
            case VoiceSplit(pcm):
                self._drop_speculation(utterance)
                self._stream.end_after(self._detection.endpointing.min_silence_ms)
                self._partials.begin(utterance.turn_id)
                await self._hear_part(utterance, utterance.unheard + pcm)
                utterance.unheard = b""
            case VoiceDiscarded(audio_ms, cleared):
                self._leave()
                if not cleared and (utterance.transcripts or utterance.unheard):
                    self._left_over = LeftOver(utterance.transcripts, utterance.unheard)
                await self._discard(utterance, audio_ms)
            case VoiceStopped():
                self._leave()
                utterance.stopped, utterance.endpoint = event, now
                await self._on_endpoint(utterance, event)
            case VadFailed(error):
                lost = self._leave()
                self._drop_speculation(utterance)
                await self._resume_reply()
                await self._turns.tell_error(error, lost.turn_id if lost else None)

    def close(self) -> None:
        """The conversation is over."""
        for utterance in (self._utterance, *self._undecided):
            if utterance is not None:
                self._drop_speculation(utterance)

    @property
    def undecided(self) -> bool:
        """An utterance over a reply is still to be decided on."""
        return bool(self._undecided)

    def check(self) -> None:
        """Called every now and then: a reply does not stay silent until slow words come."""
        reply = self._turns.reply
        if reply is not None and reply.playout.paused_s > LONGEST_PAUSE_S and self._utterance is None:
            self._tasks.start_soon(self._turns.resume, reply)

    @property
    def wants_progress(self) -> bool:
        """`VoiceContinued` is of interest."""
        return self._turns.reply is not None or self._partials.wanted

    async def cancel(self) -> bool:
        """End the reply that is under way because the client says so; false: there is none."""
        if (reply := self._turns.cut()) is None:
            return False
        self._keep_words_of(reply, self._utterance)
        await self._turns.tell_cut(reply)
        return True

    def make_room(self) -> None:
        """A turn without speech comes in between: what was begun for the utterance did not know of it."""
        if self._utterance is not None:
            self._drop_speculation(self._utterance)

    # The utterance.

    def _leave(self) -> Utterance | None:
        """Nothing more is said of the utterance."""
        utterance, self._utterance = self._utterance, None
        self._closer.cancel()
        self._partials.end()
        return utterance

    async def _hear_part(self, utterance: Utterance, pcm: bytes) -> None:
        try:
            part = await self._pipeline.stt.transcribe(pcm, self._options.language, utterance.record)
        except StageError as error:
            await self._turns.tell_error(error, utterance.turn_id)
            return
        utterance.transcripts.append(part)
        event = events.SpeechTranscribed(utterance.turn_id, part.text, part.language, final=False)
        await self._client.send_event(event)

    async def _discard(self, utterance: Utterance, audio_ms: float) -> None:
        """It makes no turn."""
        self._settle(utterance)
        self._drop_speculation(utterance)
        await self._resume_reply()
        await self._client.send_event(events.SpeechDiscarded(utterance.turn_id, audio_ms))

    async def _note(self, utterance: Utterance, stopped: VoiceStopped) -> None:
        """It wants no answer: its words go into the chat, and it makes no turn."""
        async with self._turns.noting:
            pcm, record = utterance.unheard + stopped.pcm, utterance.record
            try:
                last = await self._pipeline.stt.transcribe(pcm, self._options.language, record)
            except StageError as error:
                await self._turns.tell_error(error, utterance.turn_id)
                await self._discard(utterance, stopped.audio_ms)
                return
            parts = [*utterance.transcripts, last]
            text = self._turns.dialogue.note(utterance.turn_id, parts)
            event = events.SpeechTranscribed(utterance.turn_id, text, last.language, final=True)
            await self._client.send_event(event)

    # The reply to it: speculative first, or begun at the endpoint.

    def _speculate(self, utterance: Utterance, soft_end: SoftEnd) -> None:
        if self._turns.reply is not None and not self._turns.reply.playout.paused:
            return  # the sound over a reply was too short
        if not self._pipeline.affords(self._detection.speculation):
            self._metrics.speculations.labels("shed").inc()
            return
        self._metrics.speculations.labels("started").inc()
        reply = self._begin(utterance, soft_end.pcm, speculative=True)
        if (detector := self._pipeline.turn) is not None:
            self._stream.end_after(self._detection.endpoint_max_ms)  # the detector says later how long it is
            if not detector.needs_text:
                self._tasks.start_soon(self._judge_end, utterance, reply, detector)

    def _begin(self, utterance: Utterance, pcm: bytes, *, speculative: bool) -> Reply:
        record = dataclasses.replace(utterance.record, speculative=speculative)
        pcm = utterance.unheard + pcm
        reply = self._turns.new_reply(record, [*utterance.transcripts], pcm, speculative=speculative)
        if utterance.reply is not None:
            reply.take_words_of(utterance.reply)
            self._drop_speculation(utterance)
        utterance.reply = reply
        ask = functools.partial(self._on_words, utterance)
        forgives = functools.partial(self._forgives, utterance, reply)
        self._tasks.start_soon(self._turns.run, reply, ask, forgives)
        return reply

    def _drop_speculation(self, utterance: Utterance) -> None:
        reply, utterance.reply = utterance.reply, None
        if reply is not None:
            reply.cancel()
            if reply.record.speculative:
                self._metrics.speculations.labels("wasted").inc()

    def _forgives(self, utterance: Utterance, reply: Reply, error: Exception) -> bool:
        """There is no turn that has failed: a speculation is begun anew at the endpoint."""
        if reply.claim.speculative:
            reply.failed = True
            if utterance.reply is reply and not reply.judged:
                self._stream.end_after(self._detection.endpointing.min_silence_ms)
            logger.debug("turn=%s speculation failed: %s", reply.turn_id, error)
            return True
        if not utterance.taken:  # the words were to say whether the utterance is a turn
            self._tasks.start_soon(self._discard_failed, utterance, error)
            return True
        return False

    async def _discard_failed(self, utterance: Utterance, error: Exception) -> None:
        await self._turns.tell_error(error, utterance.turn_id)
        await self._discard(utterance, utterance.stopped.audio_ms if utterance.stopped else 0.0)

    async def _on_words(self, utterance: Utterance, reply: Reply) -> ChatRequest | None:
        """The words that a reply is to answer are there: the request for an answer, when there is to be one."""
        if (detector := self._pipeline.turn) is not None and detector.needs_text and utterance.stopped is None:
            self._tasks.start_soon(self._judge_end, utterance, reply, detector)
        if self._is_open(utterance):
            # The decision is a task of its own, since this one is cancelled when the utterance goes on.
            self._tasks.start_soon(self._decide, utterance, reply)
            await reply.until_admitted()
        request = self._turns.dialogue.request_for(reply)
        if not reply.question:
            reply.record.outcome = "empty"
            return None
        heard = self._turns.dialogue.language_of(reply.language_heard)
        if reply.language != heard:
            await reply.tell(events.LanguageFallback(reply.turn_id, heard, reply.language))
        return request

    async def _judge_end(self, utterance: Utterance, reply: Reply, detector: TurnStage) -> None:
        """Wait for the endpoint as long as what was said so far calls for."""
        heard = (reply.question, reply.language_heard) if reply.transcribed else ("", self._options.language)
        request = TurnRequest(reply.pcm, heard[0], self._turns.dialogue.language_of(heard[1]))
        wait_ms = await detector.wait_ms(request, self._detection, reply.claim)
        if utterance.reply is reply and utterance.stopped is None:
            reply.judged = True
            self._stream.end_after(wait_ms)

    # The turn.

    def _is_open(self, utterance: Utterance) -> bool:
        """Its words have to say whether it is a turn: it was said over a reply."""
        return not utterance.taken and (self._turns.reply is not None or bool(self._undecided))

    async def _on_endpoint(self, utterance: Utterance, stopped: VoiceStopped) -> None:
        if not stopped.wants_answer:
            self._drop_speculation(utterance)
            self._tasks.start_soon(self._note, utterance, stopped)
            await self._resume_reply()
            return
        if self._options.turn_detection is None:
            await self._interrupt(utterance)
        if self._turns.reply is not None and stopped.voiced_ms < self._detection.barge_in_pause_ms:
            await self._discard(utterance, stopped.audio_ms)  # the sound over a reply was too short
            return
        reply = utterance.reply
        if reply is None or not reply.usable:
            reply = self._begin(utterance, stopped.pcm, speculative=False)
        reply.claim.speculative = False
        self._undecided.append(utterance)
        if self._turns.reply is None and self._undecided[0] is utterance:
            await self._take_turn(utterance, reply)
        elif reply.transcribed:
            await self._decide(utterance, reply)

    async def _decide(self, utterance: Utterance, reply: Reply) -> None:
        """Words were said over a reply: do they interrupt it, and are they a turn?"""
        if utterance.reply is not reply or utterance.taken or self._undecided[:1] not in ([], [utterance]):
            return  # what was said before this utterance is decided first
        stopped = utterance.stopped
        if self._turns.reply is not None and self._is_backchannel(reply.question, reply.language_heard):
            if stopped is None:
                utterance.excused_ms = utterance.voiced_ms
                # If the reply is over at the endpoint, this is an answer.
                await self._resume_reply()
            else:
                self._metrics.backchannels.inc()
                await self._discard(utterance, stopped.audio_ms)
            return
        # While the end of one reply is told, another one may be asked for, or this utterance be decided on elsewhere.
        while self._turns.reply is not None and not utterance.taken:
            await self._interrupt(utterance)
        reply.admit()
        if stopped is not None:
            await self._take_turn(utterance, reply)

    def _is_backchannel(self, words: str, language: str) -> bool:
        return is_backchannel(words, self._turns.dialogue.language_of(language))

    def _settle(self, utterance: Utterance) -> None:
        """It is decided: now what was said after it can be."""
        if utterance in self._undecided:
            self._undecided.remove(utterance)
        if self._undecided and (reply := self._undecided[0].reply) is not None and reply.transcribed:
            self._tasks.start_soon(self._decide, self._undecided[0], reply)

    async def _take_turn(self, utterance: Utterance, reply: Reply) -> None:
        """The utterance is complete and wants a reply."""
        stopped = utterance.stopped
        if utterance.taken or stopped is None:
            return
        utterance.taken = True
        self._settle(utterance)
        record = reply.record
        record.endpoint = utterance.endpoint
        record.speech_end = utterance.endpoint - stopped.silence_ms / 1000
        record.speech_ms = stopped.speech_ms
        if record.speculative:
            self._metrics.speculations.labels("used").inc()
        await self._turns.take(reply, events.SpeechStopped(utterance.turn_id, stopped.audio_ms))

    # Barge-in.

    async def _talk_over(self, utterance: Utterance, voiced_ms: float) -> None:
        """So much of the utterance that goes on was speech: if a reply plays, it may be meant for it."""
        detection = self._options.turn_detection
        utterance.voiced_ms, voiced_ms = voiced_ms, voiced_ms - utterance.excused_ms
        if self._turns.reply is None or detection is None:
            return
        if voiced_ms >= detection.barge_in_ms and not self._asks_for_words(utterance, voiced_ms):
            await self._interrupt(utterance)
        elif voiced_ms >= detection.barge_in_pause_ms:
            await self._turns.pause()

    def _asks_for_words(self, utterance: Utterance, voiced_ms: float) -> bool:
        """Whether its words so far are asked for, or were those of a backchannel, and it is not too long for one."""
        if voiced_ms >= self._detection.barge_in_max_ms:
            return False
        if not utterance.asked_for_words:
            if not self._pipeline.stt.worker.has_room:
                return False
            utterance.asked_for_words = True
            self._tasks.start_soon(self._listen_closer, utterance, self._stream.utterance())
        return True

    async def _listen_closer(self, utterance: Utterance, pcm: bytes) -> None:
        """Do the words so far interrupt the reply?"""
        interrupts = False
        with self._closer:
            try:
                record, claim = dataclasses.replace(utterance.record), Claim(speculative=True)
                so_far = await self._pipeline.stt.transcribe(pcm, self._options.language, record, claim)
                interrupts = not self._is_backchannel(so_far.text, so_far.language)
            except (StageError, Evicted):
                interrupts = True
        if self._utterance is utterance and interrupts:
            await self._interrupt(utterance)

    async def _resume_reply(self) -> None:
        if self._turns.reply is not None and not self._undecided:
            await self._turns.resume(self._turns.reply)

    async def _interrupt(self, utterance: Utterance) -> None:
        """The utterance ends the reply."""
        if (reply := self._turns.cut()) is None:
            return
        self._keep_words_of(reply, utterance)
        self._metrics.interruptions.inc()
        await self._turns.tell_cut(reply)

    def _keep_words_of(self, cut: Reply, utterance: Utterance | None) -> None:
        """What a reply that was still to be transcribed is to answer is the beginning of what was said next.

        That is the first utterance that waits for its words, else this one, else one that is still to come.
        """
        if cut.transcribed:
            return
        # The list is copied, since the transcript of a cancelled reply may still arrive in its own.
        transcripts, pcm = [*cut.transcripts], cut.pcm[-LONGEST_UNHEARD_BYTES:]
        waits = next((other for other in self._undecided if other is not utterance), None)
        said_next = waits or utterance
        if said_next is None or (said_next.reply is not None and waits is None):
            self._left_over = LeftOver(transcripts, pcm)
            return
        said_next.transcripts = transcripts + said_next.transcripts
        said_next.unheard = pcm + said_next.unheard
        if waits is not None and waits.stopped is not None:
            self._drop_speculation(waits)
            self._begin(waits, waits.stopped.pcm, speculative=False)
