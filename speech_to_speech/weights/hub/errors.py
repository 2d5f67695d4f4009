"""What the hub's library raises, as one line that names the fix. The token is in none of them."""

import errno
import os
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from speech_to_speech.weights.hub.places import Place

TOKEN = re.compile(r"hf_\w+")
LONGEST = 300  # characters of another library's message


def one_line(error: object) -> str:
    """Another library's message: its text on one line, not too long, and without the token."""
    text = " ".join(str(error).split()) or type(error).__name__
    for secret in filter(None, (os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN"))):
        text = text.replace(secret.strip(), "***")
    text = TOKEN.sub("hf_***", text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def is_transient(error: BaseException) -> bool:
    """The hub may answer if it is asked again."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)


def endpoint() -> str:
    """The hub's address, without a password that may be in it."""
    from huggingface_hub import constants

    parts = urlsplit(constants.ENDPOINT)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def problem_of(error: BaseException, name: str, repository: str, flag: str, place: "Place") -> str:
    """Why a model could not be had from the hub, and what to do. `place` is where it was to be put."""
    import httpx2
    from huggingface_hub import get_token
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = endpoint()
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__  # the cause is what the hub answered
    other_source = "check the network and HF_ENDPOINT, or give a folder"
    match error:
        case GatedRepoError() if get_token():
            return f"{name} is gated and your token has no access: ask for it at {hub}/{repository}"
        case GatedRepoError():
            return f"{name} is gated: ask for access at {hub}/{repository}, then set HF_TOKEN or run `hf auth login`"
        case RepositoryNotFoundError():
            token = "if it is private, your token has no access" if get_token() else "if it is private, set HF_TOKEN"
            return f"there is no model {name!r} at {hub} and no such folder; check --{flag} ({token})"
        case RevisionNotFoundError():
            return f"{repository} has no revision {name.partition('@')[2]!r}; check --{flag}"
        case EntryNotFoundError():
            return f"{name} changed while it was downloaded; start again"
        case HfHubHTTPError() if error.response.status_code == 401:
            return f"{hub} refuses the token; check HF_TOKEN, or run `hf auth login`"
        case HfHubHTTPError() if error.response.status_code == 403:
            return f"{hub} does not let your token read {name}; check HF_TOKEN"
        case HfHubHTTPError() if error.response.status_code == 429:
            return f"{hub} had too many requests from here; wait a little, or set HF_TOKEN"
        case HfHubHTTPError():
            return f"{hub} answered with status {error.response.status_code}; try again, or give a folder"
        case httpx2.TimeoutException():
            return f"{hub} does not answer; {other_source}"
        case httpx2.LocalProtocolError() | UnicodeEncodeError():  # the message has the header, and so the token
            return "the token has characters that no token has; check HF_TOKEN"
        case httpx2.TransportError():
            return f"can't reach {hub} ({one_line(error)}); {other_source}"
        case HFValidationError():
            return f"{name!r} is no name on the hub: {one_line(error)}"
        case _ if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
            return f"the disk is full while {name} is downloaded; make room, or {place.advice} on another disk"
        case OSError() if error.strerror:
            return f"can't write to {place.title}: {one_line(error)}; {place.advice} of your own"
    return f"can't download {name}: {type(error).__name__}: {one_line(error)}"
