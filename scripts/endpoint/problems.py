"""What huggingface_hub raises, as one line that names what to do."""

import email.utils
import random
import re
import time
from collections.abc import Mapping

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import HfHubHTTPError

from endpoint.errors import EndpointError, Gone, Unreachable

TRIES = 5
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
RIGHT = "a fine-grained token with the right inference.endpoints.write, or one of the kind write"
HARDWARE_FLAGS = "--vendor, --region, --accelerator, --instance-type and --instance-size"
BILLING = "https://huggingface.co/settings/billing"
CONSOLE = "https://endpoints.huggingface.co"
LOST = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError)
# With these errors, nothing of the request got to the platform.
UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
RATE_LIMIT = re.compile(r";\s*r=0\s*;\s*t=(\d+)")  # draft-ietf-httpapi-ratelimit-headers: nothing left for t seconds
UNREADABLE = (ValueError, KeyError, TypeError)  # huggingface_hub reads answers without checking them
ASKED = (HfHubHTTPError, httpx2.TransportError, *UNREADABLE)


def is_transient(error: Exception) -> bool:
    """Another try may go better."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, LOST)


def wait_s(error: Exception, attempt: int) -> float | None:
    """How long to wait before the next try, in seconds; None: longer than anybody would.

    What the platform asks for, or else twice as long after each try, jittered, so that not all come back at once.
    """
    asked_s = _asked_s(error)
    if asked_s is not None:
        return None if asked_s > LONGEST_WAIT_S else asked_s
    return min(FIRST_WAIT_S * 2.0 ** (attempt - 1), LONGEST_WAIT_S) * random.uniform(0.5, 1.0)


def _asked_s(error: Exception) -> float | None:
    """The seconds that the platform says, in Retry-After or its own header."""
    if not isinstance(error, HfHubHTTPError):
        return None
    headers: Mapping[str, str] = error.response.headers
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        limit = RATE_LIMIT.search(headers.get("ratelimit", "")) if error.response.status_code == 429 else None
        return None if limit is None else float(limit[1])


def what_happened(error: Exception) -> str:
    """The error in some words, without advice."""
    if isinstance(error, HfHubHTTPError):
        message = " ".join((error.server_message or "").split())  # the message is not cut before its secrets are masked
        return f"the platform answered {error.response.status_code}{': ' + message if message else ''}"
    if isinstance(error, httpx2.TimeoutException):
        return "the platform does not answer"
    if isinstance(error, httpx2.TransportError):
        return f"the connection to the platform failed: {' '.join(str(error).split()) or type(error).__name__}"
    return "the platform's answer can't be read"


def problem_of(error: Exception, name: str, namespace: str) -> EndpointError:
    """Why the platform did not do it, and what to do about it. `namespace` is empty while it is not known."""
    what = what_happened(error)
    if not isinstance(error, HfHubHTTPError):
        if isinstance(error, UNREADABLE):
            return Unreachable(f"{what}; is there a proxy in between, or is a newer huggingface_hub needed?")
        return Unreachable(f"{what}; check the network, proxy settings and {constants.INFERENCE_ENDPOINTS_ENDPOINT}")
    status, message = error.response.status_code, (error.server_message or "").lower()
    if status == 401:
        return EndpointError(
            f"{what}: the token is wrong or has expired; set HF_TOKEN or run `hf auth login` with {RIGHT}"
        )
    if "quota" in message or "limit exceeded" in message:
        return EndpointError(
            f"{what}; your quota is used up: pause or delete an endpoint, take other hardware ({HARDWARE_FLAGS}), or "
            f"ask for more at {CONSOLE}"
        )
    if status == 402 or "payment" in message or "billing" in message:
        return EndpointError(f"{what}; the account needs a way to pay: {BILLING}")
    if status == 403:
        return EndpointError(
            f"{what}; the token has no right to manage endpoints of {namespace or 'this account'}: take {RIGHT}, for "
            f"that namespace (check --namespace); and the account needs a way to pay: {BILLING}"
        )
    if status == 404:
        return Gone(f"there is no endpoint {name} of {namespace}; check its name and --namespace")
    if status in (400, 422):
        return EndpointError(
            f"{what}; check {HARDWARE_FLAGS} (`hf endpoints hardware` lists what there is), and --image"
        )
    if status == 429:
        asked_s = _asked_s(error)
        when = "in a few minutes" if asked_s is None else f"in {asked_s:.0f} s"
        return Unreachable(f"{what}; too many requests from this account: try again {when}")
    if status >= 500:
        return Unreachable(f"{what}; see https://status.huggingface.co, and try again later")
    return EndpointError(what)
