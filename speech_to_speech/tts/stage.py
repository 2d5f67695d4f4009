"""Text to speech as a step of a turn: pieces of text in, audio in the wire's rate out."""

from collections.abc import Callable

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from speech_to_speech.audio import Resampler
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest, pcm_ms
from speech_to_speech.record import TurnRecord
from speech_to_speech.workers import Worker


class TtsStage:
    def __init__(self, worker: Worker[SpeakRequest, AudioChunk]) -> None:
        self.worker = worker

    async def speak(
        self,
        pieces: MemoryObjectReceiveStream[str],
        language: str,
        record: TurnRecord,
        audio: MemoryObjectSendStream[bytes],
        on_spoken: Callable[[str], None],
    ) -> None:
        """Speak the pieces in order, and close `audio` behind the last sound; `on_spoken` is told of each that has any.

        Raises:
            StageError: the model failed, missed its deadline or made no sound of a text.
        """
        with pieces, audio:
            async for piece in pieces:
                resampler = Resampler()
                made_ms = 0.0
                async with self.worker.open(SpeakRequest(piece, language)) as chunks:
                    async for chunk in chunks:
                        record.mark("first_audio_made")
                        if not made_ms:
                            on_spoken(piece)
                        made_ms += pcm_ms(len(chunk.pcm), chunk.sample_rate_hz)
                        await audio.send(resampler.push(chunk))
                    record.tts_s += chunks.model_s
                record.tts_audio_ms += made_ms
                if not made_ms:
                    raise StageFailed(self.worker.stage, "made no sound of a text")
                await audio.send(resampler.finish())
