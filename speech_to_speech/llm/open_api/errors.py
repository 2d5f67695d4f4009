"""What can go wrong with a server, as the errors of a turn.

The messages are for clients too: they hold no key, no address, and nothing of what the server wrote but a short code.
"""

import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from speech_to_speech.errors import StageError, StageFailed, StageTimeout, StageUnavailable

STAGE = "llm"
CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{1,63}")
UNAVAILABLE = (502, 503, 504, 529)  # a gateway, or the server itself, says: not now
REQUEST_AT_FAULT = (400, 413, 422)  # another request than the refused one may well be answered
LONGEST_WAIT_S = 3600.0
QUOTA = "insufficient_quota"  # OpenAI sends this code with status 429; waiting does not help


class BadAnswer(Exception):
    """A response that is no chat completion; its text is one of ours."""


class AnswerCut(BadAnswer):
    """The response ended before the answer did."""


class ServerReported(BadAnswer):
    """The server put an error where the answer should be."""


class Failure(Exception):
    """A request failed with `error`.

    `transient`: the same request may succeed a little later; `after_s`: not before so many seconds, says the server;
    `request_at_fault`: it tells nothing about the server.
    """

    def __init__(
        self,
        error: StageError,
        *,
        transient: bool = False,
        after_s: float = 0.0,
        request_at_fault: bool = False,
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.transient = transient
        self.after_s = after_s
        self.request_at_fault = request_at_fault


def unavailable(why: str) -> StageError:
    """The server can't answer now, but may later."""
    return StageUnavailable(STAGE, why)


def failure_of(error: Exception, model: str, key: str | None, said: bool) -> Failure | None:
    """What `error` means for a request to `model`; None if it is a defect of ours. `said`: the answer had begun."""
    import httpx2
    import openai

    match error:
        case openai.APIStatusError():
            return _refusal(error, model, key)
        case openai.APITimeoutError() | TimeoutError() | httpx2.TimeoutException():
            what = "gone on with its answer" if said else "answered"
            return Failure(StageTimeout(STAGE, f"the server has not {what} in time"), transient=not said)
        case ServerReported():
            return Failure(StageFailed(STAGE, f"the server reported an error{_code_of(error.args[0], key)}"))
        case AnswerCut() | httpx2.ReadError() | httpx2.RemoteProtocolError() if said:
            return Failure(StageFailed(STAGE, "the server cut its answer off"))
        case AnswerCut():
            return Failure(unavailable("the server ended its answer before a word of it"), transient=True)
        case BadAnswer():
            return Failure(StageFailed(STAGE, str(error)))
        case httpx2.SSEError() | httpx2.DecodingError():
            return Failure(StageFailed(STAGE, "the server's answer can't be read"))
        case openai.APIConnectionError() | httpx2.TransportError():
            if isinstance(error.__cause__, httpx2.ConnectError):
                return Failure(unavailable("the server can't be reached"), transient=True)
            return Failure(unavailable("the server broke the connection before it answered"), transient=True)
        case openai.APIError() | httpx2.RequestError():
            return Failure(StageFailed(STAGE, f"the server could not be asked ({type(error).__name__})"))
        case _:
            return None


def _refusal(error: Any, model: str, key: str | None) -> Failure:
    """An `openai.APIStatusError`: what the server said instead of an answer."""
    status: int = error.status_code
    code = _code_of(error.body, key)
    after_s = retry_after_s(error.response.headers.get("retry-after"))
    if status == 401:
        return Failure(StageFailed(STAGE, "the server refused the key (401): check OPENAI_API_KEY or its file"))
    if status == 403:
        return Failure(StageFailed(STAGE, f"the server denied access to the model {model!r} (403{code})"))
    if status == 404:
        what = f"the server knows no model {model!r}, or open_api_base_url is wrong: mostly it ends in /v1"
        return Failure(StageFailed(STAGE, f"{what} (404)"))
    if status == 429 and QUOTA in code:
        return Failure(StageFailed(STAGE, "the key's quota at the server is used up (429)"))
    if status == 429:
        return Failure(unavailable("the server has too many requests (429)"), transient=True, after_s=after_s)
    if status in UNAVAILABLE:
        return Failure(unavailable(f"the server is not available ({status})"), transient=True, after_s=after_s)
    if status >= 500:
        return Failure(StageFailed(STAGE, f"the server failed ({status}{code})"), transient=True, after_s=after_s)
    what = f"the server refused the request ({status}{code})"
    return Failure(StageFailed(STAGE, what), request_at_fault=status in REQUEST_AT_FAULT)


def _code_of(body: object, key: str | None) -> str:
    """The code or type that a server's error has, as `, code`; empty where there is none that is fit to be shown."""
    names = (body.get("code"), body.get("type")) if isinstance(body, dict) else ()
    for name in names:
        if isinstance(name, str) and CODE.fullmatch(name) and not (key and key in name):
            return f", {name}"
    return ""


def retry_after_s(header: str | None) -> float:
    """Seconds from a Retry-After header (RFC 9110, 10.2.3): a number or a date; 0 where it says neither."""
    try:
        seconds = float(header or 0)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(header or "").timestamp() - time.time()
        except ValueError:
            return 0.0
    return max(0.0, min(seconds, LONGEST_WAIT_S))
