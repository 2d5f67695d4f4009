"""Where the service is, and which token goes there."""

import contextlib
import ipaddress
import urllib.parse
from collections.abc import Mapping

from speech_to_speech.client.errors import UsageError

# *.hf.space is not among these: anybody's app runs there, and could read the token.
HUGGING_FACE = (".huggingface.co", ".huggingface.cloud")


def websocket_url(text: str, paced: bool, full_duplex: bool = False, bitrate_kbps: int | None = None) -> str:
    """The /ws address for an http(s):// or ws(s):// one; with a bitrate, for MP3. Raises UsageError."""
    try:
        parts = urllib.parse.urlsplit(text.strip())
        scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError as error:
        raise UsageError(f"--api_url {text!r} is not a URL: {error}") from None
    scheme = {"http": "ws", "https": "wss"}.get(scheme, scheme)
    if scheme not in ("ws", "wss") or not host:
        raise UsageError(f"--api_url {text!r} must look like https://host or ws://host:port")
    if "@" in parts.netloc:
        raise UsageError("--api_url must not hold a user name or password: use --auth_token")
    own = ("events", "paced", "full_duplex", "codec", "bitrate_kbps")
    query = [pair for pair in urllib.parse.parse_qsl(parts.query, True) if pair[0] not in own]
    query += [("events", "1"), ("paced", "1" if paced else "0")]
    query += [("full_duplex", "1")] if full_duplex else []
    query += [("codec", "mp3"), ("bitrate_kbps", str(bitrate_kbps))] if bitrate_kbps else []
    path = parts.path if parts.path.strip("/") else "/ws"
    return urllib.parse.urlunsplit((scheme, parts.netloc, path, urllib.parse.urlencode(query), ""))


def auth_headers(url: str, auth_token: str | None, env: Mapping[str, str]) -> list[str]:
    """The token headers for this address.

    An explicit token goes where the user says. Of those in the environment, HF_TOKEN goes to Hugging Face only and
    only over TLS, and S2S_API_TOKEN only where nobody can read it on the way. Raises UsageError.
    """
    parts = urllib.parse.urlsplit(url)
    trusted = parts.scheme == "wss" and f".{host_of(url)}".endswith(HUGGING_FACE)
    bearer = auth_token or (env.get("HF_TOKEN") if trusted else None)
    api_key = None if is_exposed(url) else env.get("S2S_API_TOKEN")
    headers = []
    for name, prefix, token in (("Authorization", "Bearer ", bearer), ("X-API-Key", "", api_key)):
        if token := (token or "").strip():
            if not (token.isascii() and token.isprintable() and " " not in token):
                raise UsageError(f"the token for {name} holds a character that no token has: was it pasted whole?")
            headers.append(f"{name}: {prefix}{token}")
    return headers


def host_of(url: str) -> str:
    return urllib.parse.urlsplit(url).hostname or ""


def is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost" or host.endswith(".localhost")


def is_exposed(url: str) -> bool:
    """True if what goes to this address can be read on its way."""
    return urllib.parse.urlsplit(url).scheme == "ws" and not is_loopback(host_of(url))
