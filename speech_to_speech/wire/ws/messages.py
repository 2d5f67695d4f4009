"""The streaming protocol of `/ws`, as pure functions; docs/protocol.md is its specification."""

import dataclasses
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import annotated_types
import pydantic

from speech_to_speech.audio.mp3_frames import LOW_KBPS
from speech_to_speech.conversation.events import Event, TurnEnded
from speech_to_speech.errors import BadQuery, BadReport, OddAudio, TextNotAudio
from speech_to_speech.frames import BYTES_PER_SAMPLE, pcm_bytes

DONE = b"DONE"
SHORTEST_BLOCK = pcm_bytes(20)
LONGEST_BLOCK = pcm_bytes(128)
Codec = Literal["pcm", "mp3"]
BITRATES_KBPS = LOW_KBPS  # MP3's, at 16 kHz
SWITCH = {"0": False, "false": False, "1": True, "true": True}


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a client asks for in its query: JSON events; audio in real time or as fast as it is made; to be heard while
    a reply plays, and to interrupt it; how audio is coded, and the bitrate of what is sent to it."""

    events: bool = False
    paced: bool = True
    full_duplex: bool = False
    codec: Codec = "pcm"
    bitrate_kbps: int = 64


@dataclass(frozen=True, slots=True)
class PlaybackReport:
    """A client's report: so much of that turn's reply has sounded."""

    type: Literal["playback"]
    turn_id: str
    played_ms: Annotated[float, annotated_types.Ge(0), annotated_types.Le(1e9)]


_playback: pydantic.TypeAdapter[PlaybackReport] = pydantic.TypeAdapter(PlaybackReport)


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
    return options


def _decode_value(name: str, value: str) -> bool | int | str:
    values: Mapping[str, bool | int | str] = SWITCH
    expected = "0 or 1"
    if name == "codec":
        values = {codec: codec for codec in get_args(Codec)}
        expected = " or ".join(values)
    elif name == "bitrate_kbps":
        values = {str(kbps): kbps for kbps in BITRATES_KBPS}
        expected = f"one of {', '.join(values)}"
    if value not in values:
        raise BadQuery(f"{name}: {expected} is expected, not {value!r}")
    return values[value]


def decode_message(message: Mapping[str, object], options: StreamOptions) -> bytes | PlaybackReport:
    """The audio in an ASGI `websocket.receive` message, empty for the filler of half-duplex clients; or a report.

    It is as the client has coded it.

    Raises:
        TextNotAudio: a text message; in full duplex `BadReport`, if it is no report.
        OddAudio: half a sample too much.
    """
    audio = message.get("bytes")
    if not isinstance(audio, bytes):
        if not options.full_duplex:
            raise TextNotAudio("a text message came where only binary audio is expected")
        return decode_report(str(message.get("text")))
    if options.codec == "pcm" and len(audio) % BYTES_PER_SAMPLE:
        raise OddAudio(f"a message of {len(audio)} bytes is not int16 audio: the number is odd")
    return audio


def decode_report(text: str) -> PlaybackReport:
    """A report of the client's playback.

    Raises:
        BadReport: it is none.
    """
    try:
        return _playback.validate_json(text, strict=True)
    except pydantic.ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise BadReport(f"no report of playback: {where}{': ' if where else ''}{problem['msg'].lower()}") from None


def block_bytes(client_block: int) -> int:
    """The size of reply blocks for a client whose own are `client_block` bytes long."""
    return min(max(client_block, SHORTEST_BLOCK), LONGEST_BLOCK)


def encode_event(event: Event) -> str:
    """An event as JSON text."""
    fields = event.record.fields() if isinstance(event, TurnEnded) else dataclasses.asdict(event)
    return json.dumps({"type": event_type(type(event)), **fields}, ensure_ascii=False)


def event_type(event: type) -> str:
    """`SpeechStarted` -> `speech_started`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()
