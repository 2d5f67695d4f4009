"""Whose turn it is: the person's, whose utterance grows, or the service's, whose reply plays; in full duplex both.

    soft end    a speculative reply is begun
    resumed     it is cancelled, and the utterance grows
    endpoint    the reply becomes certain: the turn, which ends with exactly one DONE
    barge-in    speech over the reply pauses it; its length or its words interrupt it, or else it resumes

docs/turn-taking.md has the whole picture.
"""

import dataclasses
import functools
import logging

import anyio
from anyio.abc import TaskGroup

from speech_to_speech.conversation import events
from speech_to_speech.conversation.backchannel import is_backchannel
from speech_to_speech.conversation.chat import Chat
from speech_to_speech.conversation.client import Client, ClientGone, Deaf, Ear
from speech_to_speech.conversation.metrics import Metrics
from speech_to_speech.conversation.partials import Partials
from speech_to_speech.conversation.pipeline import Pipeline
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.stages.turn import TurnStage
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.conversation.utterance import Utterance
from speech_to_speech.errors import PlaybackUnknown, ReplyTooLong, SpeechToSpeechError, StageError
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
)
from speech_to_speech.languages import AnswerLanguage
from speech_to_speech.workers.worker import Claim, Evicted

logger = logging.getLogger(__name__)

PROMPT_LANGUAGE = "en"
LONGEST_PAUSE_S = 2.0  # of a reply, for words that don't come


class Floor:
    """The turns of one conversation. At most one reply is active, and who takes it off `reply` ends its turn."""

    def __init__(
        self,
        session_id: str,
        pipeline: Pipeline,
        metrics: Metrics,
        client: Client,
        ear: Ear,
        tasks: TaskGroup,
        partials: Partials | None,
    ) -> None:
        self.reply: Reply | None = None
        self._session_id = session_id
        self._settings = pipeline.settings
        self._pipeline = pipeline
        self._metrics = metrics
        self._client = client
        self._ear: Ear = ear
        self._tasks = tasks
        self._partials = partials
        self._chat = Chat(self._settings.init_chat_prompt, self._settings.chat_size)
        self._language = AnswerLanguage(self._settings.language, pipeline.speakable_languages)
        self._utterance: Utterance | None = None
        self._undecided: list[Utterance] = []  # complete, said over a reply: their words say, in order, what they are
        self._closer = anyio.CancelScope()  # of `_listen_closer`
        self._turns = 0
        self._telling = anyio.Lock()  # the end of one turn is told before the beginning of the next
        self._interrupted: Reply | None = None  # the last exchange of the chat: the client's last report may be to come

    async def on_speech(self, event: VadEvent, now: float) -> None:
        """React to what the VAD said at `now` (`time.monotonic`)."""
        utterance = self._utterance or self._new_utterance()
        match event:
            case VoiceStarted(audio_ms):
                self._utterance, self._closer = utterance, anyio.CancelScope()
                if self._partials is not None:
                    self._partials.begin(utterance.turn_id)
                await self._client.send_event(events.SpeechStarted(utterance.turn_id, audio_ms))
            case VoiceContinued():
                if self._partials is not None:
                    self._partials.on_speech(event.audio_ms, self._ear.utterance)
                await self._talk_over(utterance, event.voiced_ms)
            case SoftEnd():
                self._speculate(utterance, event)
            case VoiceResumed():
                self._drop_speculation(utterance)
                await self._talk_over(utterance, event.voiced_ms)
            case VoiceSplit(pcm):
                self._drop_speculation(utterance)
                self._ear.end_after(self._settings.min_silence_ms)
                if self._partials is not None:
                    self._partials.begin(utterance.turn_id)
                await self._hear_part(utterance, utterance.unheard + pcm)
                utterance.unheard = b""
            case VoiceDiscarded(audio_ms):
                self._leave()
                await self._discard(utterance, audio_ms)
            case VoiceStopped():
                self._leave()
                utterance.stopped, utterance.endpoint = event, now
                await self._on_endpoint(utterance, event)
            case VadFailed(error):
                lost = self._leave()
                self._drop_speculation(utterance)
                await self._resume_reply()
                await self.tell_error(error, lost.turn_id if lost else None)

    def report(self, turn_id: str, played_ms: float) -> None:
        """The client says how much of a reply has sounded; of an interrupted one the last report comes late."""
        for reply in (self.reply, self._interrupted):
            if reply is not None and reply.turn_id == turn_id:
                reply.playout.report(played_ms)
        if self._interrupted is not None and self._interrupted.turn_id == turn_id:
            self._chat.amend(self._interrupted.heard.until(self._interrupted.playout.played_ms))

    def close(self) -> None:
        """The conversation is over; the turn that goes on, if any, does not end with a DONE."""
        reply, self.reply = self.reply, None
        if reply is not None:
            reply.record.outcome = "cancelled"
            self._metrics.observe_turn(reply.record)
        for utterance in (self._utterance, *self._undecided):
            if utterance is not None:
                self._drop_speculation(utterance)
        self._interrupted = None
        self._ear = Deaf()  # or the session would stay in memory until the garbage collector comes by

    @property
    def taking_turn(self) -> bool:
        """A reply is active or its DONE not yet sent, or an utterance over it is still to be decided on."""
        return self.reply is not None or self._telling.locked() or bool(self._undecided)

    def check(self) -> None:
        """Called every now and then: a reply does not stay silent until slow words come."""
        if self.reply is not None and self.reply.playout.paused_s > LONGEST_PAUSE_S and self._utterance is None:
            self._tasks.start_soon(self._resume, self.reply)

    @property
    def wants_progress(self) -> bool:
        """`VoiceContinued` is of interest."""
        return self.reply is not None or self._partials is not None

    async def tell_error(self, error: Exception, turn_id: str | None = None) -> None:
        event = events.Error.of(error, turn_id)
        logger.info("session=%s error=%s stage=%s turn=%s", self._session_id, event.code, event.stage, event.turn_id)
        self._metrics.errors.labels(event.code).inc()
        await self._client.send_event(event)

    # The utterance.

    def _new_utterance(self) -> Utterance:
        self._turns += 1
        return Utterance(TurnRecord(self._session_id, f"{self._session_id}-{self._turns}"))

    def _leave(self) -> Utterance | None:
        """Nothing more is said of the utterance."""
        utterance, self._utterance = self._utterance, None
        self._closer.cancel()
        if self._partials is not None:
            self._partials.end()
        return utterance

    async def _hear_part(self, utterance: Utterance, pcm: bytes) -> None:
        try:
            part = await self._pipeline.hear_part(pcm, utterance.record)
        except StageError as error:
            await self.tell_error(error, utterance.turn_id)
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

    # The reply to it: speculative first, or begun at the endpoint.

    def _speculate(self, utterance: Utterance, soft_end: SoftEnd) -> None:
        if self.reply is not None and not self.reply.playout.paused:
            return  # too short a sound over a reply
        if not self._pipeline.affords_speculation:
            self._metrics.speculations.labels("shed").inc()
            return
        self._metrics.speculations.labels("started").inc()
        reply = self._begin(utterance, soft_end.pcm, speculative=True)
        if (detector := self._pipeline.turn) is not None:
            self._ear.end_after(self._settings.endpoint_max_ms)  # until it is judged
            if not detector.needs_text:
                self._tasks.start_soon(self._judge_end, utterance, reply, detector)

    def _begin(self, utterance: Utterance, pcm: bytes, *, speculative: bool) -> Reply:
        record = dataclasses.replace(utterance.record, speculative=speculative)
        tell = self._client.send_event
        pcm = utterance.unheard + pcm
        reply = Reply(record, pcm, [*utterance.transcripts], speculative, self._ear.new_playout(record), tell)
        if utterance.reply is not None:
            reply.take_words_of(utterance.reply)
            self._drop_speculation(utterance)
        utterance.reply = reply
        self._tasks.start_soon(self._run, utterance, reply)
        return reply

    def _drop_speculation(self, utterance: Utterance) -> None:
        reply, utterance.reply = utterance.reply, None
        if reply is not None:
            reply.cancel()
            if reply.record.speculative:
                self._metrics.speculations.labels("wasted").inc()

    async def _run(self, utterance: Utterance, reply: Reply) -> None:
        with reply.scope:
            try:
                await self._pipeline.answer(reply, functools.partial(self._on_words, utterance))
            except ClientGone:
                raise
            except Exception as error:
                if not await self._on_failure(utterance, reply, error):
                    return
            await self._until_played(reply)
        if self.reply is reply:
            self.reply = None
            await self._end_turn(reply)

    async def _on_failure(self, utterance: Utterance, reply: Reply, error: Exception) -> bool:
        """False if there is no turn that has failed: a speculation is begun anew at the endpoint."""
        if not isinstance(error, SpeechToSpeechError | Evicted):
            logger.exception("session=%s turn=%s failed by a defect", self._session_id, reply.turn_id, exc_info=error)
        if reply.claim.speculative:
            reply.error = error
            if utterance.reply is reply and not reply.judged:
                self._ear.end_after(self._settings.min_silence_ms)
            logger.debug("session=%s turn=%s speculation failed: %s", self._session_id, reply.turn_id, error)
            return False
        if not utterance.taken:  # its words were to say whether it is a turn
            self._tasks.start_soon(self._discard_failed, utterance, error)
            return False
        await reply.until_certain()
        await self._turn_failed(reply, error)
        return True

    async def _turn_failed(self, reply: Reply, error: Exception) -> None:
        reply.record.outcome = "cut" if isinstance(error, ReplyTooLong) else "failed"
        reply.record.error = events.Error.of(error).code
        await self.tell_error(error, reply.turn_id)

    async def _until_played(self, reply: Reply) -> None:
        try:
            await reply.playout.wait_played()
            reply.record.heard_ms = reply.record.reply_ms
        except PlaybackUnknown as error:
            reply.record.heard_ms = reply.playout.played_ms
            await self._turn_failed(reply, error)

    async def _discard_failed(self, utterance: Utterance, error: Exception) -> None:
        await self.tell_error(error, utterance.turn_id)
        await self._discard(utterance, utterance.stopped.audio_ms if utterance.stopped else 0.0)

    async def _on_words(self, utterance: Utterance, reply: Reply) -> ChatRequest:
        """The words of a reply's utterance are there: ask for an answer, when it is to have one."""
        if (detector := self._pipeline.turn) is not None and detector.needs_text and utterance.stopped is None:
            self._tasks.start_soon(self._judge_end, utterance, reply, detector)
        if self._is_open(utterance):
            # Not here, since this task may be cancelled: the utterance may go on.
            self._tasks.start_soon(self._decide, utterance, reply)
            await reply.until_admitted()
        heard = self._language.of(reply.language_heard)
        reply.language = self._language.to(heard)
        if reply.question and reply.language != heard:
            await reply.tell(events.LanguageFallback(reply.turn_id, heard, reply.language))
        # A model answers in the language of its prompt, unless told otherwise.
        answer_in = None if self._settings.language == PROMPT_LANGUAGE else reply.language
        return ChatRequest(self._chat.asked(reply.question, answer_in), reply.language)

    async def _judge_end(self, utterance: Utterance, reply: Reply, detector: TurnStage) -> None:
        """Wait for the endpoint as long as what was said so far calls for."""
        text, language = (reply.question, reply.language_heard) if reply.transcribed else ("", self._settings.language)
        language = self._language.of(language)
        wait_ms = await detector.wait_ms(reply.pcm, text, language, reply.claim)
        if utterance.reply is reply and utterance.stopped is None:
            reply.judged = True
            self._ear.end_after(wait_ms)

    # The turn.

    def _is_open(self, utterance: Utterance) -> bool:
        """Its words have to say whether it is a turn: it was said over a reply."""
        return not utterance.taken and (self.reply is not None or bool(self._undecided))

    async def _on_endpoint(self, utterance: Utterance, stopped: VoiceStopped) -> None:
        if self.reply is not None and stopped.voiced_ms < self._settings.barge_in_pause_ms:
            await self._discard(utterance, stopped.audio_ms)  # too short a sound over a reply
            return
        reply = utterance.reply
        if reply is None or not reply.usable:
            reply = self._begin(utterance, stopped.pcm, speculative=False)
        reply.claim.speculative = False
        self._undecided.append(utterance)
        if self.reply is None and self._undecided[0] is utterance:
            await self._take_turn(utterance, reply)
        elif reply.transcribed:
            await self._decide(utterance, reply)

    async def _decide(self, utterance: Utterance, reply: Reply) -> None:
        """Words were said over a reply: do they interrupt it, and are they a turn?"""
        if utterance.reply is not reply or utterance.taken or self._undecided[:1] not in ([], [utterance]):
            return  # what was said before it is decided first
        stopped = utterance.stopped
        if self.reply is not None and is_backchannel(reply.question, self._language.of(reply.language_heard)):
            if stopped is None:
                utterance.excused_ms = utterance.voiced_ms
                await self._resume_reply()  # and wait for the endpoint: if the reply is over then, this is an answer
            else:
                self._metrics.backchannels.inc()
                await self._discard(utterance, stopped.audio_ms)
            return
        await self._interrupt(utterance)
        reply.admit()
        if stopped is not None:
            await self._take_turn(utterance, reply)

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
        self.reply = reply
        self._settle(utterance)
        record = reply.record
        record.endpoint = utterance.endpoint
        record.speech_end = utterance.endpoint - stopped.silence_ms / 1000
        record.speech_ms = stopped.speech_ms
        if record.speculative:
            self._metrics.speculations.labels("used").inc()
        reply.admit()
        self._pipeline.make_way()
        async with self._telling:
            await self._client.send_event(events.SpeechStopped(utterance.turn_id, stopped.audio_ms))
            await reply.make_certain()

    async def _end_turn(self, reply: Reply, *last: events.Event) -> None:
        """Exactly one DONE for the turn of a reply that is active no more, unless the session ends."""
        record, reply.pcm = reply.record, b""
        if reply.transcribed and reply.question:
            self._language.used(reply.language or self._language.to(reply.language_heard))
            heard = reply.heard.until(record.heard_ms)
            interrupted = record.outcome == "interrupted"
            if heard or interrupted:
                self._chat.add(reply.question, heard)
                self._interrupted = reply if interrupted else None
        try:
            async with self._telling:
                for event in (*last, events.TurnEnded(record)):
                    await self._client.send_event(event)
                self._ear.listen()
                await self._client.send_done()
        except BaseException:
            record.outcome = "cancelled"
            raise
        finally:
            self._metrics.observe_turn(record)
        self._ear.turn_done()

    # Barge-in.

    async def _talk_over(self, utterance: Utterance, voiced_ms: float) -> None:
        """So much of the utterance that goes on was speech: if a reply plays, it may be meant for it."""
        reply, settings = self.reply, self._settings
        utterance.voiced_ms, voiced_ms = voiced_ms, voiced_ms - utterance.excused_ms
        if reply is None:
            return
        if voiced_ms >= settings.barge_in_ms and not self._asks_for_words(utterance, voiced_ms):
            await self._interrupt(utterance)
        elif voiced_ms >= settings.barge_in_pause_ms and not reply.playout.paused:
            reply.playout.pause()
            await self._client.send_event(events.ReplyPaused(reply.turn_id, round(reply.playout.played_ms, 1)))

    def _asks_for_words(self, utterance: Utterance, voiced_ms: float) -> bool:
        """Whether its words so far are asked for, or were those of a backchannel, and it is not too long for one."""
        if voiced_ms >= self._settings.barge_in_max_ms:
            return False
        if not utterance.asked_for_words:
            if not self._pipeline.stt.worker.has_room:
                return False
            utterance.asked_for_words = True
            self._tasks.start_soon(self._listen_closer, utterance, self._ear.utterance())
        return True

    async def _listen_closer(self, utterance: Utterance, pcm: bytes) -> None:
        """Do the words so far interrupt the reply?"""
        interrupts = False
        with self._closer:
            try:
                record, claim = dataclasses.replace(utterance.record), Claim(speculative=True)
                so_far = await self._pipeline.hear_part(pcm, record, claim)
                interrupts = not is_backchannel(so_far.text, self._language.of(so_far.language))
            except StageError:
                interrupts = True
        if self._utterance is utterance and interrupts:
            await self._interrupt(utterance)

    async def _resume_reply(self) -> None:
        if self.reply is not None and not self._undecided:
            await self._resume(self.reply)

    async def _resume(self, reply: Reply) -> None:
        if reply is self.reply and reply.playout.paused:
            reply.playout.resume()
            await self._client.send_event(events.ReplyResumed(reply.turn_id))

    async def _interrupt(self, utterance: Utterance) -> None:
        """The utterance ends the reply. One that was still to be transcribed is the beginning of the utterance."""
        reply, self.reply = self.reply, None
        if reply is None:
            return
        reply.cancel()
        if not reply.transcribed and utterance.reply is None:
            utterance.transcripts, utterance.unheard = reply.transcripts + utterance.transcripts, reply.pcm
        self._metrics.interruptions.inc()
        reply.record.outcome = "interrupted"
        reply.record.heard_ms = round(reply.playout.played_ms, 1)
        await self._end_turn(reply, events.ReplyInterrupted(reply.turn_id, reply.record.heard_ms))
