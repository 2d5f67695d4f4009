"""Speech to text as a step of a turn."""

import time

from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.metrics import TurnRecord
from speech_to_speech.workers import Worker


class SttStage:
    def __init__(self, worker: Worker[SpeechRequest, Transcript]) -> None:
        self.worker = worker

    async def transcribe(self, pcm: bytes, language: str, record: TurnRecord) -> Transcript:
        """The words of an utterance, or of a part of one.

        Raises:
            StageError: the model failed or missed its deadline.
        """
        asked = time.monotonic()
        transcript = await self.worker.call(SpeechRequest(pcm, language))
        record.stt_s += time.monotonic() - asked
        return transcript
