"""Who may connect: by token, and for pages of browsers by origin."""

import hmac
from collections.abc import Mapping

from speech_to_speech.config.settings import Settings
from speech_to_speech.errors import OriginRefused, Unauthorized


def check_access(settings: Settings, headers: Mapping[str, str]) -> None:
    """Look at the headers of a request, whose names are in lower case.

    Raises:
        OriginRefused: a browser's page of another host, and not one of `allowed_origins`.
        Unauthorized: the service has a token, and this is not it.
    """
    _check_origin(settings, headers)
    _check_token(settings, headers)


def _check_token(settings: Settings, headers: Mapping[str, str]) -> None:
    token = settings.api_token
    if token is None:
        return
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    for given in (headers.get("x-api-key", ""), bearer.strip() if scheme.lower() == "bearer" else ""):
        if hmac.compare_digest(given.encode(), token.encode()):
            return
    raise Unauthorized("the token is wrong or missing; send it as X-API-Key or Authorization: Bearer")


def _check_origin(settings: Settings, headers: Mapping[str, str]) -> None:
    origin, allowed = headers.get("origin"), settings.allowed_origins
    if origin is None or "*" in allowed or origin in allowed:
        return
    if origin.partition("://")[2] == headers.get("host"):
        return
    raise OriginRefused(f"pages of {origin} may not connect; --allowed_origins names those that may")
