"""The language model as a step of a turn: a question in, pieces to speak out."""

import time

from anyio.streams.memory import MemoryObjectSendStream

from speech_to_speech.conversation.events import ReplyText
from speech_to_speech.conversation.reply import Reply
from speech_to_speech.conversation.stages.speakable import SpeakableChunks
from speech_to_speech.errors import ReplyTooLong, StageFailed, StageTimeout
from speech_to_speech.frames import ChatRequest, ToolCall
from speech_to_speech.workers.worker import Worker

LONGEST_REPLY = 20_000  # characters


class LlmStage:
    def __init__(self, worker: Worker[ChatRequest, str | ToolCall]) -> None:
        self.worker = worker

    async def answer(self, reply: Reply, request: ChatRequest, pieces: MemoryObjectSendStream[str]) -> None:
        """Send the answer piece by piece, and close `pieces` behind the last one.

        A reply's own answer is said in place of the model's. Calls for tools are kept in the reply.

        Raises:
            StageError: the model failed, missed its deadline or had nothing to say.
            ReplyTooLong: the text is longer than anyone would listen to.
        """
        chunks = SpeakableChunks()
        with pieces:
            if reply.answer:
                await self._pass_on(reply, chunks.push(reply.answer), pieces)
            else:
                await self._ask(reply, request, chunks, pieces)
            await self._pass_on(reply, chunks.finish(), pieces)

    async def _ask(
        self, reply: Reply, request: ChatRequest, chunks: SpeakableChunks, pieces: MemoryObjectSendStream[str]
    ) -> None:
        record = reply.record
        asked, length, answered = time.monotonic(), 0, False
        async with self.worker.open(request, reply.claim) as deltas:
            async for delta in deltas:
                record.mark("first_token")
                if isinstance(delta, ToolCall):
                    reply.tool_calls.append(delta)
                    continue
                length += len(delta)
                answered = answered or bool(delta.strip())
                if length > LONGEST_REPLY:
                    raise ReplyTooLong(f"the reply's text was cut at {LONGEST_REPLY} characters")
                if record.first_text is None and time.monotonic() - asked > self.worker.timeout_s:
                    raise StageTimeout(self.worker.stage, f"nothing to say within {self.worker.timeout_s:g} s")
                if record.first_text is None:
                    record.llm_first_s = deltas.model_s
                await self._pass_on(reply, chunks.push(delta), pieces)
        if not answered:
            tools = ", ".join(call.name for call in reply.tool_calls)
            wanted = f"asked for a tool ({tools}), and nothing here runs tools" if tools else "returned nothing to say"
            raise StageFailed(self.worker.stage, wanted)

    async def _pass_on(self, reply: Reply, texts: list[str], pieces: MemoryObjectSendStream[str]) -> None:
        for piece in texts:
            reply.record.mark("first_text")
            await reply.tell(ReplyText(reply.turn_id, piece))
            await pieces.send(piece)
