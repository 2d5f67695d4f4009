"""Text to speech as a step of a turn: pieces of text in, audio in the client's rate out."""

from collections.abc import Iterable

from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from speech_to_speech.audio.samples import Resampler
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import AudioChunk, SpeakRequest, pcm_ms
from speech_to_speech.normalization.tracked import Speakable
from speech_to_speech.workers.worker import Worker


class TtsStage:
    """`as_written`: the model normalises text by itself, or needs the digits; it still gets no text without words."""

    def __init__(self, worker: Worker[SpeakRequest, AudioChunk], *, as_written: bool = False) -> None:
        self.worker = worker
        self.as_written = as_written

    def preload(self, languages: Iterable[str]) -> None:
        """Load the rules of text normalisation for these languages, or a first reply waits some ten milliseconds."""
        from speech_to_speech.normalization.normalizer import preload

        preload(languages)

    async def speak(
        self, reply: Reply, pieces: MemoryObjectReceiveStream[str], audio: MemoryObjectSendStream[bytes]
    ) -> None:
        """Speak the pieces in order, and close `audio` behind the last sound.

        Of a speculative reply only the first piece with something to say: it is enough to begin with. A piece without,
        such as a block of code, is passed over in silence.

        Raises:
            StageError: the model failed, missed its deadline or made no sound of a text.
        """
        from speech_to_speech.normalization.normalizer import Normalizer

        record = reply.record
        normalizer = Normalizer(reply.language)
        with pieces, audio:
            async for piece in pieces:
                said = normalizer.speak(piece)
                if said.text and self.as_written:
                    said = Speakable.plain(piece)
                reply.heard.begin(said)
                if not said.text:
                    continue
                resampler = Resampler(reply.playout.rate_hz)
                made_ms = 0.0
                request = SpeakRequest(said.text, reply.language, reply.options.voice)
                async with self.worker.open(request, reply.claim) as chunks:
                    async for chunk in chunks:
                        if record.first_audio_made is None:
                            record.tts_first_s = chunks.model_s
                        record.mark("first_audio_made")
                        chunk_ms = pcm_ms(len(chunk.pcm), chunk.sample_rate_hz)
                        made_ms += chunk_ms
                        reply.heard.add(chunk_ms, chunk.words)
                        await audio.send(resampler.push(chunk))
                    record.tts_s += chunks.model_s
                record.tts_audio_ms += made_ms
                if not made_ms:
                    raise StageFailed(self.worker.stage, "made no sound of a text")
                await audio.send(resampler.finish())
                reply.heard.finish()
                await reply.until_certain()
