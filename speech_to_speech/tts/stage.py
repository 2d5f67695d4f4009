"""Text to speech as a step of a turn: pieces of text in, audio in the wire's rate out."""

import time

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from speech_to_speech.audio import Resampler
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest, pcm_ms
from speech_to_speech.metrics import TurnRecord
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
    ) -> None:
        """Speak the pieces in order, and close `audio` behind the last sound.

        Raises:
            StageError: the model failed, missed its deadline or made no sound of a text.
        """
        with pieces, audio:
            async for piece in pieces:
                resampler = Resampler()
                made_ms = 0.0
                waited_since = time.monotonic()
                async with self.worker.open(SpeakRequest(piece, language)) as chunks:
                    async for chunk in chunks:
                        record.tts_s += time.monotonic() - waited_since
                        record.mark("first_audio_made")
                        made_ms += pcm_ms(len(chunk.pcm), chunk.sample_rate_hz)
                        await audio.send(resampler.push(chunk))
                        waited_since = time.monotonic()  # a full buffer downstream is not the model's time
                record.tts_audio_ms += made_ms
                if not made_ms:
                    raise StageFailed(self.worker.stage, "made no sound of a text")
                await audio.send(resampler.finish())
