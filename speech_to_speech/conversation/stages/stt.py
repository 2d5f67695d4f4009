"""Speech to text as a step of a turn."""

from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.workers.worker import CONFIRMED, Claim, Worker


class SttStage:
    def __init__(self, worker: Worker[SpeechRequest, Transcript]) -> None:
        self.worker = worker

    async def transcribe(self, pcm: bytes, language: str, record: TurnRecord, claim: Claim = CONFIRMED) -> Transcript:
        """The words of an utterance, or of a part of one.

        Raises:
            StageError: the model failed or missed its deadline.
        """
        async with self.worker.open(SpeechRequest(pcm, language), claim) as outputs:
            async for transcript in outputs:
                record.stt_s += outputs.model_s
                return transcript
        raise StageFailed(self.worker.stage, "returned nothing")
