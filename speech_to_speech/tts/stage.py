"""Text to speech as a step of a turn: pieces of text in, audio in the wire's rate out."""

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from speech_to_speech.audio import Resampler
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest, pcm_ms
from speech_to_speech.reply import Reply
from speech_to_speech.workers import Worker


class TtsStage:
    def __init__(self, worker: Worker[SpeakRequest, AudioChunk]) -> None:
        self.worker = worker

    async def speak(
        self, reply: Reply, pieces: MemoryObjectReceiveStream[str], audio: MemoryObjectSendStream[bytes]
    ) -> None:
        """Speak the pieces in order, and close `audio` behind the last sound.

        Of a speculative reply only the first piece: it is enough to begin with.

        Raises:
            StageError: the model failed, missed its deadline or made no sound of a text.
        """
        record = reply.record
        with pieces, audio:
            async for piece in pieces:
                resampler = Resampler()
                made_ms = 0.0
                reply.spoken.begin(piece)
                async with self.worker.open(SpeakRequest(piece, reply.language), reply.claim) as chunks:
                    async for chunk in chunks:
                        record.mark("first_audio_made")
                        chunk_ms = pcm_ms(len(chunk.pcm), chunk.sample_rate_hz)
                        made_ms += chunk_ms
                        reply.spoken.add(chunk_ms, chunk.words)
                        await audio.send(resampler.push(chunk))
                    record.tts_s += chunks.model_s
                record.tts_audio_ms += made_ms
                if not made_ms:
                    raise StageFailed(self.worker.stage, "made no sound of a text")
                await audio.send(resampler.finish())
                reply.spoken.finish()
                await reply.until_certain()
