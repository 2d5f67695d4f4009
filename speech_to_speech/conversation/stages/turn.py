"""Turn detection as a step of a turn: how long to wait for the endpoint."""

import logging

from speech_to_speech.config.settings import Settings
from speech_to_speech.errors import StageError
from speech_to_speech.turn.base import TurnRequest
from speech_to_speech.workers.worker import Claim, Worker

logger = logging.getLogger(__name__)


class TurnStage:
    def __init__(self, worker: Worker[TurnRequest, float], settings: Settings, *, needs_text: bool) -> None:
        self.worker = worker
        self.needs_text = needs_text
        self._settings = settings

    async def wait_ms(self, pcm: bytes, text: str, language: str, claim: Claim) -> float:
        """The endpoint wait after this: from `endpoint_min_ms`, if it is complete, to `endpoint_max_ms`.

        If the detector fails, `min_silence_ms`, as without one.
        """
        try:
            complete = await self.worker.call(TurnRequest(pcm, text, language), claim)
        except StageError as error:
            logger.warning("%s", error)
            return self._settings.min_silence_ms
        shortest_ms, longest_ms = self._settings.endpoint_min_ms, self._settings.endpoint_max_ms
        return longest_ms - complete * (longest_ms - shortest_ms)
