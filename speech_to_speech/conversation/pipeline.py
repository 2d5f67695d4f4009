"""The path of the data.

    microphone -> VAD -> STT -> LLM -> TTS -> playout -> speaker

One `Pipeline` serves all conversations: its models are loaded once, each behind a worker's line. The VAD listens all
the time and says where utterances begin and end, `floor.Floor` whose turn it is; `answer` is what happens with an
utterance.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import anyio

from speech_to_speech.conversation.events import SpeechTranscribed
from speech_to_speech.conversation.options import Speculation
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.stages.llm import LlmStage
from speech_to_speech.conversation.stages.stt import SttStage
from speech_to_speech.conversation.stages.tts import TtsStage
from speech_to_speech.conversation.stages.turn import TurnStage
from speech_to_speech.conversation.stages.vad import VadStage
from speech_to_speech.errors import first_of
from speech_to_speech.frames import ChatRequest

PIECES_AHEAD = 4  # pieces of text that may wait for TTS
CHUNKS_AHEAD = 64  # chunks of audio that may wait for playout


@dataclass(frozen=True)
class Pipeline:
    """The steps of all turns. `speakable` are the languages that an answer can be in, None: any."""

    vad: VadStage
    turn: TurnStage | None
    stt: SttStage
    llm: LlmStage
    tts: TtsStage
    speakable: frozenset[str] | None = None

    async def answer(self, reply: Reply, ask: Callable[[Reply], Awaitable[ChatRequest | None]]) -> None:
        """STT -> LLM -> TTS -> playout, each working on what the one before has made so far.

        A speculative reply goes as far as its options and the load allow and waits there until it is certain. `ask`
        gives the request for the LLM when the words are there; None: they want no answer.

        Raises:
            SpeechToSpeechError: a step failed; what others of this turn were doing is cancelled.
            Evicted: the reply was speculative and gave way.
        """
        await self._hear(reply)
        request = await ask(reply)
        if not self._may_ask(reply):
            await reply.until_certain()
        if request is None:
            await reply.until_certain()
            return

        pieces_in, pieces_out = anyio.create_memory_object_stream[str](PIECES_AHEAD)
        audio_in, audio_out = anyio.create_memory_object_stream[bytes](CHUNKS_AHEAD)
        try:
            async with anyio.create_task_group() as steps:
                steps.start_soon(self.llm.answer, reply, request, pieces_in)
                steps.start_soon(self.tts.speak, reply, pieces_out, audio_in)
                with audio_out:
                    await reply.until_certain()
                    await reply.playout.play(audio_out)
        except ExceptionGroup as group:
            raise first_of(group) from None

    async def _hear(self, reply: Reply) -> None:
        """STT: put the words of the utterance, or of the last part of a long one, into the reply."""
        if not reply.transcribed:
            part = await self.stt.transcribe(reply.pcm, reply.options.language, reply.record, reply.claim)
            reply.transcripts.append(part)
            reply.transcribed = True
        reply.record.mark("transcript")
        if reply.spoken:
            await reply.tell(SpeechTranscribed(reply.turn_id, reply.question, reply.language_heard, final=True))

    def affords(self, speculation: Speculation) -> bool:
        """Under load speculation is shed first: it begins only if the next call of STT could take it.

        Where a call takes one request only, not while one runs: a confirmed request would wait for both.
        """
        worker = self.stt.worker
        return speculation != "off" and (worker.idle if worker.batch_limit == 1 else worker.has_room)

    def _may_ask(self, reply: Reply) -> bool:
        detection = reply.options.turn_detection
        return detection is not None and detection.speculation == "full" and self.llm.worker.has_room

    def make_way(self) -> None:
        """A reply has become certain: speculative ones give way to it."""
        for stage in (self.vad, self.turn, self.stt, self.llm, self.tts):
            if stage is not None:
                stage.worker.make_way()
