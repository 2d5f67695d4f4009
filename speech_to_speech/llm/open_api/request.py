"""One request to a server: sent, retried while that can help, and its text passed on as it comes."""

import asyncio
import contextlib
import logging
import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import ChatRequest
from speech_to_speech.llm.open_api.answer import texts_of
from speech_to_speech.llm.open_api.breaker import Breaker, CircuitOpen
from speech_to_speech.llm.open_api.errors import STAGE, Failure, failure_of, unavailable
from speech_to_speech.llm.thoughts import Thoughts
from speech_to_speech.workers.model import Job

if TYPE_CHECKING:
    import openai

logger = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 4.0


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds, and how often to ask again.

    `first_token_s` is for all attempts together, from the request to the first text; `token_s` between two texts.
    """

    first_token_s: float
    token_s: float
    retries: int


class Server:
    """A server that answers chats, and what is known of its health. All on one event loop."""

    def __init__(
        self, client: "openai.AsyncOpenAI", key: str | None, model: str, limits: Limits, breaker: Breaker | None = None
    ) -> None:
        self._requests = client.chat.completions.with_streaming_response
        self._headers = without_key(key)
        self._key = key
        self._model = model
        self._limits = limits
        self._breaker = breaker or Breaker()
        self._trouble = ""  # the message of the server's last failure

    async def answer(self, job: Job[ChatRequest, str], body: dict[str, Any]) -> None:
        """Emit the answer to the chat in `body`, piece by piece.

        Raises:
            StageError: there is none, or not all of it.
        """
        try:
            probe = self._breaker.admit()
        except CircuitOpen as circuit:
            wait_s = max(1, math.ceil(circuit.wait_s))
            raise unavailable(f"{self._trouble}; it is asked again in {wait_s} s") from None
        try:
            await self._attempts(job, body, retries=0 if probe else self._limits.retries)
        except Failure as failure:
            self._failed(probe, failure)
            raise failure.error from None
        except BaseException:  # the request was cancelled, or the code here has a defect
            self._breaker.left(probe)
            raise
        self._breaker.succeeded()

    def _failed(self, probe: bool, failure: Failure) -> None:
        if failure.request_at_fault:
            self._breaker.left(probe)
            return
        self._trouble = failure.error.message
        if (open_s := self._breaker.failed(probe, failure.after_s)) is not None:
            logger.warning("open_api: the server fails, no request is sent for %.1f s", open_s)

    async def _attempts(self, job: Job[ChatRequest, str], body: dict[str, Any], retries: int) -> None:
        """Ask, and ask again after a failure that may pass, while the time for the first token lasts."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        deadline_s = began_s + self._limits.first_token_s
        attempt = 0
        while True:
            try:
                await self._attempt(job, body, deadline_s)
                return
            except Failure as failure:
                backoff_s = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2.0**attempt) * random.uniform(0.5, 1.0)
                wait_s = max(backoff_s, failure.after_s)
                in_vain = job.cancelled or self._breaker.is_open or loop.time() + wait_s >= deadline_s
                if not failure.transient or attempt >= retries or in_vain:
                    took_ms = 1000 * (loop.time() - began_s)
                    logger.warning("open_api: %s; attempts=%d took_ms=%.0f", failure.error, attempt + 1, took_ms)
                    raise
                logger.info("open_api: %s; asked again in %.2f s", failure.error, wait_s)
            attempt += 1
            await asyncio.sleep(wait_s)

    async def _attempt(self, job: Job[ChatRequest, str], body: dict[str, Any], deadline_s: float) -> None:
        """Ask once.

        Raises:
            Failure: no answer, or not all of it; `transient` only if nothing of it was emitted.
        """
        loop = asyncio.get_running_loop()
        thoughts = Thoughts()
        said = False
        try:
            async with (
                asyncio.timeout_at(deadline_s) as limit,
                self._requests.create(**body, extra_headers=self._headers) as response,
                contextlib.aclosing(texts_of(response.http_response)) as texts,
            ):
                async for text in texts:
                    if words := thoughts.push(text):
                        self._breaker.answering()
                        job.emit(words)
                        said = True
                    if said and text:
                        limit.reschedule(loop.time() + self._limits.token_s)
                if words := thoughts.finish():
                    job.emit(words)
                    said = True
        except Exception as error:
            failure = failure_of(error, self._model, self._key, said)
            if failure is None:
                raise
            failure.transient = failure.transient and not said  # words that were said can't be taken back
            raise failure from None
        if not said:
            why = "only thoughts and no answer" if thoughts.dropped else "an empty answer"
            raise Failure(StageFailed(STAGE, f"the server gave {why}"), request_at_fault=True)


def without_key(key: str | None) -> dict[str, Any]:
    """Headers for a server that wants no key: the client would send none only if told so for each request."""
    import openai

    return {} if key else {"Authorization": openai.Omit()}
