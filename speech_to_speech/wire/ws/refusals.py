"""How `/ws` tells errors: the codes that a websocket is closed with, and the HTTP statuses of a refused handshake."""

from speech_to_speech.errors import (
    BadAudio,
    BadQuery,
    BadReport,
    ClientTooSlow,
    HandshakeRefused,
    InternalError,
    MessageTooBig,
    NotReady,
    OddAudio,
    OriginRefused,
    ServiceFull,
    ServiceStopping,
    SessionIdle,
    SessionTooLong,
    SpeechToSpeechError,
    TextNotAudio,
    Unauthorized,
)

LONGEST_REASON = 123  # bytes, RFC 6455

CLOSE_CODES: dict[type[SpeechToSpeechError], int] = {
    TextNotAudio: 1003,
    BadReport: 1003,
    OddAudio: 1007,
    BadAudio: 1007,
    SessionIdle: 1008,
    SessionTooLong: 1008,
    ClientTooSlow: 1008,
    MessageTooBig: 1009,
    InternalError: 1011,
    ServiceStopping: 1012,
    ServiceFull: 1013,
}

STATUSES: dict[type[HandshakeRefused], int] = {
    BadQuery: 400,
    Unauthorized: 401,
    OriginRefused: 403,
    NotReady: 503,
}


def close_of(error: SpeechToSpeechError) -> tuple[int, str]:
    """The close code and reason for an error that ends a session."""
    reason = f"{error.code}: {error}".encode()[:LONGEST_REASON].decode(errors="ignore")
    return CLOSE_CODES.get(type(error), CLOSE_CODES[InternalError]), reason
