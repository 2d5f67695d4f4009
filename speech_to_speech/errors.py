"""Everything that can go wrong, as types.

An error has a `code` for programs and a message for people, and says whether it ends the session and whether the same
may work if tried again. How that is told is a protocol's own business: each has a table of these types in `wire`.
"""

from typing import ClassVar


class SpeechToSpeechError(Exception):
    """Base of all errors that this project raises on purpose."""

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False
    ends_session: ClassVar[bool] = False
    stage: str | None = None


class SettingsError(SpeechToSpeechError):
    """A setting is unknown, of the wrong type or out of range; the message names what is allowed."""

    code = "bad_settings"


class BackendMissing(SettingsError):
    """The backend's packages are not installed; the message has the command that installs them."""

    code = "backend_missing"


class CheckpointError(SettingsError):
    """A model's weights can't be had, don't fit or are not what the backend needs; the message names the fix."""


class EnvironmentFailed(SettingsError):
    """An environment of a backend could not be made or removed; the message has the end of what the command printed."""


# A stage failed: the turn ends, the conversation goes on.


class StageError(SpeechToSpeechError):
    """A model did not do its part of a turn."""

    def __init__(self, stage: str, message: str) -> None:
        super().__init__(f"{stage}: {message}")
        self.stage = stage
        self.message = message

    def __reduce__(self) -> tuple[type["StageError"], tuple[str, str]]:
        return type(self), (self.stage or "", self.message)


class StageFailed(StageError):
    """The model raised, or gave nothing where something was due."""

    code = "stage_failed"


class StageTimeout(StageError):
    """The model did not answer by its deadline."""

    code = "stage_timeout"
    retryable = True


class StageBusy(StageError):
    """More requests wait for the model than it can take."""

    code = "stage_busy"
    retryable = True


class StageUnavailable(StageError):
    """The server behind the stage can't be reached, or sends all requests away; it is asked again after a while."""

    code = "stage_unavailable"
    retryable = True


class WorkerDied(StageError):
    """The model's process ended; it is being restarted."""

    code = "worker_died"
    retryable = True


class WorkerHung(StageError):
    """The model's thread is stuck in a call and takes no more requests until that returns."""

    code = "worker_hung"


class ReplyTooLong(SpeechToSpeechError):
    """The reply reached `max_reply_s` and was cut there."""

    code = "reply_too_long"


class PlaybackUnknown(SpeechToSpeechError):
    """A client that plays at its own pace did not report its position."""

    code = "playback_unknown"


# The client sent what it should not have. It is told, and the session ends if that goes on.


class BadMessage(SpeechToSpeechError):
    """A message that is not audio."""


class TextNotAudio(BadMessage):
    """A text message came where audio is expected, and is nothing to answer either."""

    code = "text_not_audio"


class BadReport(BadMessage):
    """A text message of a full duplex client is no report of its playback."""

    code = "bad_report"


class OddAudio(BadMessage):
    """An audio message has an odd number of bytes, so it is not int16 PCM."""

    code = "odd_audio"


class BadAudio(BadMessage):
    """What should be MP3 is damaged, cut off, or no MP3."""

    code = "bad_audio"


# What a client asks for can't be done. It is told, and the session goes on.


class RequestRefused(SpeechToSpeechError):
    """The conversation is not in a state for it."""


class ReplyActive(RequestRefused):
    """A reply is under way, and another one was asked for."""

    code = "reply_active"


class ItemUnknown(RequestRefused):
    """The chat has no such item."""

    code = "item_unknown"


class ItemExists(RequestRefused):
    """The chat has an item of that id already."""

    code = "item_exists"


# The session ends.


class MessageTooBig(SpeechToSpeechError):
    """A message is longer than `max_message_bytes`."""

    code = "message_too_big"
    ends_session = True


class SessionRefused(SpeechToSpeechError):
    """The service takes no further session."""


class ServiceFull(SessionRefused):
    """As many conversations as `max_sessions` allows are open; try again later."""

    code = "service_full"
    retryable = True
    ends_session = True


class ServiceStopping(SessionRefused):
    """The service shuts down; a restarted one will take the next conversation."""

    code = "service_stopping"
    retryable = True
    ends_session = True


class SessionIdle(SpeechToSpeechError):
    """Nothing came from the client for `idle_timeout_s`."""

    code = "session_idle"
    ends_session = True


class SessionTooLong(SpeechToSpeechError):
    """The session reached `session_timeout_s`."""

    code = "session_too_long"
    ends_session = True


class ClientTooSlow(SpeechToSpeechError):
    """The client does not read what it is sent: a message could not be delivered within `send_timeout_s`."""

    code = "client_too_slow"
    ends_session = True


class InternalError(SpeechToSpeechError):
    """A defect of the service itself; its log has the trace."""

    code = "internal"
    ends_session = True


# The handshake is refused.


class HandshakeRefused(SpeechToSpeechError):
    """The conversation is refused before it begins."""


class BadQuery(HandshakeRefused):
    """An unknown query parameter or value."""

    code = "bad_query"


class Unauthorized(HandshakeRefused):
    """The token is wrong or missing."""

    code = "unauthorized"


class OriginRefused(HandshakeRefused):
    """A browser page of an origin that is not allowed."""

    code = "origin_refused"


class NotReady(HandshakeRefused):
    """The models are still loading, or the service is stopping."""

    code = "not_ready"
    retryable = True


def first_of(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended a task group: its first leaf."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
