"""Turn detection as a step of a turn: how long to wait for the endpoint."""

import logging

from speech_to_speech.conversation.options import TurnDetection
from speech_to_speech.errors import StageError
from speech_to_speech.turn.base import TurnRequest
from speech_to_speech.workers.worker import Claim, Worker

logger = logging.getLogger(__name__)


class TurnStage:
    def __init__(self, worker: Worker[TurnRequest, float], *, needs_text: bool) -> None:
        self.worker = worker
        self.needs_text = needs_text

    async def wait_ms(self, request: TurnRequest, detection: TurnDetection, claim: Claim) -> float:
        """The endpoint wait after this: from `endpoint_min_ms`, if it is complete, to `endpoint_max_ms`.

        If the detector fails, `min_silence_ms`, as without one.
        """
        try:
            complete = await self.worker.call(request, claim)
        except StageError as error:
            logger.warning("%s", error)
            return detection.endpointing.min_silence_ms
        return detection.endpoint_max_ms - complete * (detection.endpoint_max_ms - detection.endpoint_min_ms)
