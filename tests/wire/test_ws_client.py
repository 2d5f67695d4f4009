"""What `/ws` writes for what a session tells it: DONE, events, and coded audio."""

import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from starlette.websockets import WebSocketState

from speech_to_speech.audio import mp3
from speech_to_speech.conversation import events
from speech_to_speech.conversation.client import ClientGone, Playback
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import ServiceStopping
from speech_to_speech.wire.ws.connection import WebSocketClient, playback_of
from speech_to_speech.wire.ws.messages import DONE, StreamOptions

pytestmark = pytest.mark.anyio
BLOCK = b"\1\2" * (mp3.BLOCK_BYTES // 2)
TURN_ENDED = events.TurnEnded(TurnRecord("s", "t"))


class Socket:
    """Keeps what is written to it."""

    application_state = WebSocketState.CONNECTED

    def __init__(self) -> None:
        self.written: list[bytes | str] = []
        self.closed: tuple[int, str] | None = None
        self.gone = False

    async def send(self, message: dict[str, Any]) -> None:
        if self.gone:
            raise RuntimeError("it was closed")
        self.written.append(message.get("bytes") or message["text"])

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


def client(socket: Socket, **options: Any) -> WebSocketClient:
    return WebSocketClient(socket, StreamOptions(**options))  # type: ignore[arg-type]


async def test_the_end_of_a_turn_is_done_and_with_events_told_before() -> None:
    plain, told = Socket(), Socket()
    await client(plain).send_event(TURN_ENDED)
    await client(told, events=True).send_event(TURN_ENDED)
    assert plain.written == [DONE]
    assert [json.loads(told.written[0])["type"], told.written[1]] == ["turn_ended", DONE]


async def test_no_other_event_is_a_message_for_who_takes_none() -> None:
    socket = Socket()
    for event in (events.SessionStarted("s"), events.ReplyText("t", "Hello."), events.ReplySent("t")):
        await client(socket).send_event(event)
    assert socket.written == []


async def test_that_all_audio_was_sent_is_no_message() -> None:
    socket = Socket()
    await client(socket, events=True).send_event(events.ReplySent("t"))
    assert socket.written == []


async def test_audio_goes_out_as_it_is() -> None:
    socket = Socket()
    await client(socket).send_audio("t", BLOCK)
    assert socket.written == [BLOCK]


async def test_why_a_session_ends_is_told_and_is_the_reason_of_the_close() -> None:
    socket = Socket()
    await client(socket, events=True).close(ServiceStopping("again soon"))
    assert json.loads(socket.written[0])["code"] == "service_stopping"
    assert socket.closed == (1012, "service_stopping: again soon")


async def test_a_client_that_has_left_is_not_told_anything() -> None:
    socket = Socket()
    await client(socket).close(None)
    socket.gone = True
    with pytest.raises(ClientGone):
        await client(socket).send_audio("t", BLOCK)
    assert (socket.written, socket.closed) == ([], None)


# MP3.


def decoded_ms(stream: list[bytes | str]) -> float:
    decoder = mp3.Mp3Decoder(mp3.PRIMING_SAMPLES)
    decoder.push(b"".join(frame for frame in stream if isinstance(frame, bytes) and frame != DONE))
    length = 0
    while pcm := decoder.pull():
        length += len(pcm)
    return length / 32


async def say(to: WebSocketClient, turn_id: str, blocks: int) -> None:
    for _ in range(blocks):
        await to.send_audio(turn_id, BLOCK)


async def test_what_the_encoder_holds_is_sent_when_the_reply_was() -> None:
    socket = Socket()
    to = client(socket, codec="mp3")
    await say(to, "t", 5)
    assert decoded_ms(socket.written) < 5 * mp3.BLOCK_MS - 50
    await to.send_event(events.ReplySent("t"))
    await to.send_event(TURN_ENDED)
    assert socket.written[-1] == DONE
    assert decoded_ms(socket.written) == pytest.approx(5 * mp3.BLOCK_MS)


async def test_the_end_of_an_interrupted_reply_is_not_sent_and_the_next_is_a_stream_of_its_own() -> None:
    socket = Socket()
    to = client(socket, codec="mp3")
    await say(to, "one", 5)
    sent = len(socket.written)
    await to.send_event(events.ReplyInterrupted("one", 100.0))
    await to.send_event(TURN_ENDED)
    assert socket.written[sent:] == [DONE]
    await say(to, "two", 5)
    await to.send_event(events.ReplySent("two"))
    assert decoded_ms(socket.written[sent + 1 :]) == pytest.approx(5 * mp3.BLOCK_MS)


async def test_a_block_that_is_coded_when_its_reply_is_cut_is_not_sent() -> None:
    socket = Socket()
    to = client(socket, codec="mp3")
    await say(to, "t", 5)
    sent = len(socket.written)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(say, to, "t", 1)
        await anyio.lowlevel.checkpoint()  # it is handed to the thread
        tasks.cancel_scope.cancel()
    assert len(socket.written) == sent


def test_the_codec_lengthens_the_lead_and_the_wait_for_the_end() -> None:
    pcm, coded = (playback_of(StreamOptions(codec=codec), Playback()) for codec in ("pcm", "mp3"))
    assert coded.block_bytes == mp3.BLOCK_BYTES
    assert coded.lead_ms == 2 * mp3.BLOCK_MS + mp3.HELD_MS
    assert coded.buffer_ms == pcm.buffer_ms + mp3.HELD_MS


@pytest.mark.parametrize(
    ("options", "reports", "holds"),
    [
        ({}, "never", False),
        ({"events": True}, "never", False),
        ({"paced": False}, "never", False),
        ({"full_duplex": True}, "on a cut", False),
        ({"full_duplex": True, "events": True}, "on a cut", True),
        ({"full_duplex": True, "events": True, "paced": False}, "always", True),
    ],
)
def test_what_a_client_reports_follows_from_what_it_asks_for(
    options: dict[str, Any], reports: str, holds: bool
) -> None:
    playback = playback_of(StreamOptions(**options), Playback())
    assert (playback.reports, playback.holds) == (reports, holds)
