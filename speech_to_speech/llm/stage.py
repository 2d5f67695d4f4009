"""The language model as a step of a turn: a question in, pieces to speak out."""

from collections.abc import Awaitable, Callable

from anyio.streams.memory import MemoryObjectSendStream

from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import ChatRequest
from speech_to_speech.llm.speakable import SpeakableChunks
from speech_to_speech.metrics import TurnRecord
from speech_to_speech.workers import Worker


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
        """
        chunks = SpeakableChunks()
        with pieces:
            async with self.worker.open(request) as deltas:
                async for delta in deltas:
                    record.mark("first_token")
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
