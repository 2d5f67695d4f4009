"""The language model as a step of a turn: a question in, pieces to speak out."""

import time
from collections.abc import Awaitable, Callable

from anyio.streams.memory import MemoryObjectSendStream

from speech_to_speech.errors import ReplyTooLong, StageFailed, StageTimeout
from speech_to_speech.frames import ChatRequest
from speech_to_speech.llm.speakable import SpeakableChunks
from speech_to_speech.record import TurnRecord
from speech_to_speech.workers import Worker

LONGEST_REPLY = 20_000  # characters


class LlmStage:
    def __init__(self, worker: Worker[ChatRequest, str]) -> None:
        self.worker = worker

    async def answer(
        self,
        request: ChatRequest,
        record: TurnRecord,
        pieces: MemoryObjectSendStream[str],
        on_piece: Callable[[str], Awaitable[None]],
    ) -> None:
        """Send the answer piece by piece, and close `pieces` behind the last one.

        Raises:
            StageError: the model failed, missed its deadline or had nothing to say.
            ReplyTooLong: the text is longer than anyone would listen to.
        """
        chunks = SpeakableChunks()
        asked, length = time.monotonic(), 0
        with pieces:
            async with self.worker.open(request) as deltas:
                async for delta in deltas:
                    record.mark("first_token")
                    length += len(delta)
                    if length > LONGEST_REPLY:
                        raise ReplyTooLong(f"the reply's text was cut at {LONGEST_REPLY} characters")
                    if record.first_text is None and time.monotonic() - asked > self.worker.timeout_s:
                        raise StageTimeout(self.worker.stage, f"nothing to say within {self.worker.timeout_s:g} s")
                    for piece in chunks.push(delta):
                        await self._pass_on(piece, record, pieces, on_piece)
            for piece in chunks.finish():
                await self._pass_on(piece, record, pieces, on_piece)
        if record.first_text is None:
            raise StageFailed(self.worker.stage, "returned nothing to say")

    async def _pass_on(
        self,
        piece: str,
        record: TurnRecord,
        pieces: MemoryObjectSendStream[str],
        on_piece: Callable[[str], Awaitable[None]],
    ) -> None:
        record.mark("first_text")
        await on_piece(piece)
        await pieces.send(piece)
