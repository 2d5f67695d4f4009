"""A reply that is coded on its way: a stand-in for a codec holds back what it was given last."""

import time
from collections.abc import AsyncIterator, Callable

import anyio
import pytest

from speech_to_speech.conversation.playout import Playout, PlayoutOptions
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.frames import pcm_bytes

pytestmark = pytest.mark.anyio
BLOCK_MS = 20.0
BLOCK = pcm_bytes(BLOCK_MS)


class Late:
    """Gives each block when the next one has come."""

    def __init__(self) -> None:
        self._held = b""

    def push(self, pcm: bytes) -> bytes:
        held, self._held = self._held, pcm
        return held

    def finish(self) -> bytes:
        return self._held


class Client:
    def __init__(self, on_message: Callable[[int], None] = lambda count: None) -> None:
        self.messages: list[bytes] = []
        self._on_message = on_message

    async def send(self, message: bytes) -> None:
        self.messages.append(message)
        self._on_message(len(self.messages))


async def blocks(count: int) -> AsyncIterator[bytes]:
    for number in range(1, count + 1):
        yield bytes([number]) * BLOCK


def playout(client: Client, record: TurnRecord, **options: float) -> Playout:
    playing = PlayoutOptions(**{"paced": False, **options})  # type: ignore[arg-type]
    return Playout(client.send, record, playing, block=BLOCK, encoder=Late())


async def test_what_the_encoder_holds_is_sent_when_the_reply_ends() -> None:
    client, record = Client(), TurnRecord("s", "t")
    playing = playout(client, record)
    await playing.play(blocks(3))
    assert [message[0] for message in client.messages] == [1, 2]  # no empty one
    await playing.wait_played()
    assert [message[0] for message in client.messages] == [1, 2, 3]
    assert record.reply_ms == 3 * BLOCK_MS


async def test_a_reply_that_is_interrupted_ends_where_it_is() -> None:
    client, record = Client(), TurnRecord("s", "t")
    playing = playout(client, record)
    await playing.play(blocks(3))
    playing.stop()
    await playing.wait_played()
    assert [message[0] for message in client.messages] == [1, 2]


async def test_nothing_is_sent_in_a_pause_not_even_the_end() -> None:
    record = TurnRecord("s", "t")
    client = Client(lambda count: playing.pause() if count == 2 else None)
    playing = playout(client, record)
    async with anyio.create_task_group() as tasks:
        await playing.play(blocks(3))
        tasks.start_soon(playing.wait_played)
        await anyio.sleep(0.1)
        assert len(client.messages) == 2
        playing.resume()
    assert len(client.messages) == 3


async def test_the_codec_delay_lengthens_the_lead_and_the_wait_for_the_end() -> None:
    client, record = Client(), TurnRecord("s", "t")
    options = {"paced": True, "lead_ms": 60.0, "client_buffer_ms": 0.0, "codec_ms": 100.0}
    playing, begun = playout(client, record, **options), time.monotonic()
    with anyio.move_on_after(0.02):
        await playing.play(blocks(100))
    assert 160 <= record.reply_ms <= 160 + 2 * BLOCK_MS + 20
    await playing.wait_played()
    assert (time.monotonic() - begun) * 1000 >= record.reply_ms + 100
