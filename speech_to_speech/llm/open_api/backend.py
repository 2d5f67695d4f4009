"""A server of OpenAI's chat completions (https://platform.openai.com/docs/api-reference/chat).

vLLM, llama.cpp, TGI, Ollama, `transformers serve`, or a hosted one.

All conversations share one connection pool on one event loop, which runs on the model's thread: requests join while
others stream, and a cancel closes the request's connection.
"""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from speech_to_speech.errors import SettingsError, StageError
from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.llm.open_api.answer import bound_body
from speech_to_speech.llm.open_api.errors import failure_of
from speech_to_speech.llm.open_api.options import OpenApiOptions, key_of, url_of
from speech_to_speech.llm.open_api.request import Limits, Server, without_key
from speech_to_speech.workers.model import Job, WorkerKind

logger = logging.getLogger(__name__)

POLL_S = 0.01  # how often a running batch looks for cancels and new requests
WARM_UP_S = 3.0
KEPT_CONNECTIONS = 64
KEEP_S = 120.0  # most people speak for less: a new TLS connection costs the next turn several round trips
NAMES_SHOWN = 5
OPENAI_HOST = "api.openai.com"

ChatJob = Job[ChatRequest, str]


class OpenApi:
    """A server that is not there is no reason not to start: turns fail, with an error that says so, until it is."""

    worker: ClassVar[WorkerKind] = "thread"  # the thread waits for the network; its own work is below 0.1 ms a token
    batch_limit: ClassVar[int] = 256
    continuous: ClassVar[bool] = True

    Options = OpenApiOptions

    def __init__(self, options: OpenApiOptions) -> None:
        self._options = options
        self._runner: asyncio.Runner
        self._client: Any
        self._server: Server
        self._key: str | None = None

    def load(self) -> None:
        """Read the key and make the client; nothing is sent.

        Raises:
            SettingsError: the key can't be used, or the environment has a bad address or proxy.
        """
        if (requests := logging.getLogger("httpx2")).level == logging.NOTSET:
            requests.setLevel(logging.WARNING)  # httpx2 would log a line for each request
        options = self._options
        self._key = key_of(options, os.environ)
        self._client = self._make_client(url_of(options, os.environ))
        limits = Limits(
            first_token_s=options.open_api_first_token_timeout_s,
            token_s=options.open_api_token_timeout_s,
            retries=options.open_api_retries,
        )
        self._server = Server(self._client, self._key, options.open_api_model_name, limits)
        self._runner = asyncio.Runner()

    def warm_up(self) -> None:
        """Open a connection, and warn if the server is not there or does not know the model."""
        self._runner.run(self._look_at_server())

    def close(self) -> None:
        """Close all connections. Not on a thread whose event loop runs."""
        self._runner.run(self._client.close())
        self._runner.close()

    def run(self, jobs: Sequence[ChatJob]) -> None:
        self.run_continuously(jobs, lambda: ())

    def run_continuously(self, jobs: Sequence[ChatJob], join: Callable[[], Sequence[ChatJob]]) -> None:
        self._runner.run(self._serve(jobs, join))

    def _make_client(self, url: str | None) -> Any:
        import httpx2
        import openai

        timeout = httpx2.Timeout(None, connect=self._options.open_api_connect_timeout_s)
        limits = httpx2.Limits(
            max_connections=None, max_keepalive_connections=KEPT_CONNECTIONS, keepalive_expiry=KEEP_S
        )
        try:
            return openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=url,
                max_retries=0,  # `Server` has retries of its own, which end with the first token
                http_client=openai.DefaultAsyncHttpxClient(
                    timeout=timeout, limits=limits, event_hooks={"response": [bound_body]}
                ),
            )
        except (httpx2.InvalidURL, ValueError, OSError) as error:  # the error's text may hold a proxy's password
            what = f"can't make an HTTP client ({type(error).__name__})"
            raise SettingsError(f"llm open_api: {what}: check HTTPS_PROXY and SSL_CERT_FILE") from None

    async def _serve(self, jobs: Sequence[ChatJob], join: Callable[[], Sequence[ChatJob]]) -> None:
        """A task for each request, until none is left."""
        under_way: dict[asyncio.Task[None], ChatJob] = {}
        stopping: set[asyncio.Task[None]] = set()
        try:
            while jobs or under_way:
                for job in jobs:
                    task = asyncio.create_task(self._answer(job))
                    under_way[task] = job
                    task.add_done_callback(under_way.pop)
                    task.add_done_callback(stopping.discard)
                await asyncio.sleep(POLL_S)
                for task, job in under_way.items():
                    if job.cancelled and task not in stopping:
                        stopping.add(task)
                        task.cancel()
                jobs = join()
        finally:
            for task in under_way:
                task.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _answer(self, job: ChatJob) -> None:
        try:
            await self._server.answer(job, self._body(job.request))
        except StageError as error:
            job.fail(error)
        except Exception as error:  # a defect must not end the other conversations' requests
            job.fail(error)
        except asyncio.CancelledError:
            job.done()
            raise
        else:
            job.done()

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        """What is asked for: a request may want a shorter answer than the options, and never a longer one."""
        options = self._options
        body: dict[str, Any] = {
            "model": options.open_api_model_name,
            "messages": [self._message(message) for message in request.messages],
            "stream": options.open_api_stream,
        }
        wanted = request.sampling
        limits = [limit for limit in (wanted.max_tokens, options.open_api_max_tokens) if limit is not None]
        if limits:
            # OpenAI's newer models refuse max_tokens. Older servers don't know max_completion_tokens.
            name = "max_completion_tokens" if self._client.base_url.host == OPENAI_HOST else "max_tokens"
            body[name] = min(limits)
        temperature = options.open_api_temperature if wanted.temperature is None else wanted.temperature
        if temperature is not None:
            body["temperature"] = temperature
        return body

    def _message(self, message: Message) -> dict[str, str]:
        roles = {"user": self._options.open_api_user_role, "system": self._options.open_api_init_chat_role}
        return {"role": roles.get(message.role, message.role), "content": message.content}

    async def _look_at_server(self) -> None:
        import openai

        model, url = self._options.open_api_model_name, self._client.base_url
        try:
            async with asyncio.timeout(WARM_UP_S):
                page = await self._client.models.list(extra_headers=without_key(self._key))
                names = [str(entry.id) for entry in page.data]
        except openai.NotFoundError:
            logger.warning("open_api: %s has no list of models; mostly open_api_base_url ends in /v1", url)
            return
        except Exception as error:  # the turns will show any error again
            failure = failure_of(error, model, self._key, said=False)
            why = failure.error.message if failure is not None else f"can't read its models ({type(error).__name__})"
            logger.warning("open_api: %s: %s; turns fail until it answers", url, why)
            return
        if names and model not in names:
            shown = ", ".join(name[:80] for name in names[:NAMES_SHOWN]) + (", ..." if names[NAMES_SHOWN:] else "")
            logger.warning(
                "open_api: %s does not list the model %r (open_api_model_name); it has %s", url, model, shown
            )
