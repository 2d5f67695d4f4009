"""The messages of `/ws`, as pure functions."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import annotated_types
import pydantic

from speech_to_speech.audio.mp3_frames import LOW_KBPS
from speech_to_speech.conversation.events import Event, ReplySent, TurnEnded
from speech_to_speech.errors import BadQuery, BadReport, OddAudio, TextNotAudio
from speech_to_speech.frames import BYTES_PER_SAMPLE, SAMPLE_RATE_HZ, pcm_bytes

DONE = b"DONE"
SHORTEST_BLOCK_MS, LONGEST_BLOCK_MS = 20, 128
LONGEST_TEXT = 8_000  # characters
Codec = Literal["pcm", "mp3"]
BITRATES_KBPS = LOW_KBPS  # those of MP3 at 16 kHz
RATES_HZ = (8_000, 16_000, 24_000, 48_000)
SWITCH = {"0": False, "false": False, "1": True, "true": True}
UNTOLD = (ReplySent,)
"""Events that are no message."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a client asks for in its query: JSON events; audio in real time or as fast as it is made; to be heard while
    a reply plays, and to interrupt it; the sample rate, both ways; how audio is coded, and the bitrate of what is sent
    to it."""

    events: bool = False
    paced: bool = True
    full_duplex: bool = False
    rate: int = SAMPLE_RATE_HZ
    codec: Codec = "pcm"
    bitrate_kbps: int = 64


@dataclass(frozen=True, slots=True)
class PlaybackReport:
    """So much of that turn's reply has sounded."""

    type: Literal["playback"]
    turn_id: str
    played_ms: Annotated[float, annotated_types.Ge(0), annotated_types.Le(1e9)]


@dataclass(frozen=True, slots=True)
class Say:
    """The user has typed this instead of saying it."""

    type: Literal["say"]
    text: Annotated[str, annotated_types.Len(1, LONGEST_TEXT)]


_reports: pydantic.TypeAdapter[PlaybackReport | Say] = pydantic.TypeAdapter(PlaybackReport)
_texts: pydantic.TypeAdapter[PlaybackReport | Say] = pydantic.TypeAdapter(Say)
_reports_and_text: pydantic.TypeAdapter[PlaybackReport | Say] = pydantic.TypeAdapter(
    Annotated[PlaybackReport | Say, pydantic.Discriminator("type")]
)


def decode_query(query: Iterable[tuple[str, str]]) -> StreamOptions:
    """The options in a handshake's query.

    Raises:
        BadQuery: an unknown parameter or value.
    """
    given: dict[str, Any] = {}
    allowed = [field.name for field in dataclasses.fields(StreamOptions)]
    for name, value in query:
        if name not in allowed:
            raise BadQuery(f"unknown query parameter {name!r}; there are {', '.join(allowed)}")
        if name in given:
            raise BadQuery(f"{name}: given twice")
        given[name] = _decode_value(name, value)
    options = StreamOptions(**given)
    if options.full_duplex and not options.paced and not options.events:
        raise BadQuery("full_duplex=1 with paced=0 needs events=1: the reports of playback name the events' turn_id")
    if "bitrate_kbps" in given and options.codec != "mp3":
        raise BadQuery("bitrate_kbps: it is that of MP3, and needs codec=mp3")
    if options.codec == "mp3" and options.rate != SAMPLE_RATE_HZ:
        raise BadQuery(f"rate: with codec=mp3 it is {SAMPLE_RATE_HZ}, and the stream says what its own is")
    return options


def values_of(name: str) -> Mapping[str, bool | int | str]:
    """What a query parameter may be, as it is written, and what that means."""
    if name == "codec":
        return {codec: codec for codec in get_args(Codec)}
    if name == "bitrate_kbps":
        return {str(kbps): kbps for kbps in BITRATES_KBPS}
    if name == "rate":
        return {str(rate_hz): rate_hz for rate_hz in RATES_HZ}
    return SWITCH


def _decode_value(name: str, value: str) -> bool | int | str:
    values = values_of(name)
    if value in values:
        return values[value]
    expected = "0 or 1" if values is SWITCH else " or ".join(values)
    if len(values) > 2 and values is not SWITCH:
        expected = f"one of {', '.join(values)}"
    raise BadQuery(f"{name}: {expected} is expected, not {value!r}")


def decode_message(message: Mapping[str, object], options: StreamOptions) -> bytes | PlaybackReport | Say:
    """The audio in an ASGI `websocket.receive` message, empty for the filler of half-duplex clients; or what a text is.

    The audio is as the client has coded it.

    Raises:
        TextNotAudio: a text message that is nothing to answer; in full duplex `BadReport`.
        OddAudio: half a sample too much.
    """
    audio = message.get("bytes")
    if not isinstance(audio, bytes):
        return _decode_text(str(message.get("text")), options)
    if options.codec == "pcm" and len(audio) % BYTES_PER_SAMPLE:
        raise OddAudio(f"a message of {len(audio)} bytes is not int16 audio: the number is odd")
    return audio


def _decode_text(text: str, options: StreamOptions) -> PlaybackReport | Say:
    """Reports come from full duplex clients, and text to answer from those that get events."""
    if not options.full_duplex and not options.events:
        raise TextNotAudio("a text message came where only binary audio is expected")
    taken = _reports_and_text if options.events else _reports
    if not options.full_duplex:
        taken = _texts
    try:
        return taken.validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        why = f"{where}{': ' if where else ''}{problem['msg'].lower()}"
    if options.full_duplex:
        raise BadReport(f"no report of playback: {why}")
    raise TextNotAudio(f"neither audio nor a text to answer: {why}")


def block_bytes(client_block: int, rate_hz: int = SAMPLE_RATE_HZ) -> int:
    """The size of reply blocks for a client whose own are `client_block` bytes long."""
    shortest, longest = (pcm_bytes(ms, rate_hz) for ms in (SHORTEST_BLOCK_MS, LONGEST_BLOCK_MS))
    return min(max(client_block, shortest), longest)


def encode_event(event: Event) -> str:
    """An event as JSON text."""
    fields = event.record.fields() if isinstance(event, TurnEnded) else dataclasses.asdict(event)
    return json.dumps({"type": event_type(type(event)), **fields}, ensure_ascii=False)


def event_type(event: type) -> str:
    """`SpeechStarted` -> `speech_started`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()
