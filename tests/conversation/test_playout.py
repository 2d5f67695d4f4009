"""A reply on its way to the client's ears, on a clock of its own."""

import dataclasses
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from speech_to_speech.conversation import playout as playout_module
from speech_to_speech.conversation.client import Playback
from speech_to_speech.conversation.events import Event, ReplySent
from speech_to_speech.conversation.playout import Playout
from speech_to_speech.conversation.turn_record import TurnRecord
from speech_to_speech.errors import ReplyTooLong, SpeechToSpeechError
from speech_to_speech.frames import pcm_bytes, pcm_ms
from speech_to_speech.wire.ws.messages import LONGEST_BLOCK_MS, SHORTEST_BLOCK_MS, block_bytes

pytestmark = pytest.mark.anyio

BLOCK_MS = 32.0
START_S = 1000.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


OVERSLEEP_S = 0.0001


class Clock:
    """Time that passes when somebody sleeps; a little late, as on any machine."""

    def __init__(self) -> None:
        self.now_s = START_S
        self.sleeps_s: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    async def sleep(self, duration_s: float) -> None:
        self.sleeps_s.append(duration_s)
        self.now_s += max(0.0, duration_s) + OVERSLEEP_S


def about(seconds: float) -> object:
    return pytest.approx(seconds, abs=0.001)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(playout_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr(playout_module, "anyio", SimpleNamespace(sleep=clock.sleep, Event=anyio.Event))
    return clock


@dataclasses.dataclass
class Client:
    """What it was sent, and when."""

    clock: Clock
    blocks: list[bytes] = dataclasses.field(default_factory=list)
    times_ms: list[float] = dataclasses.field(default_factory=list)
    slow_s: float = 0.0
    events: list[Event] = dataclasses.field(default_factory=list)
    sending_since: float | None = None

    async def close(self, error: SpeechToSpeechError | None) -> None:
        raise AssertionError("a playout closes nothing")

    async def send_audio(self, turn_id: str, block: bytes) -> None:
        assert turn_id == "turn"
        self.clock.now_s += self.slow_s
        self.blocks.append(block)
        self.times_ms.append((self.clock.now_s - START_S) * 1000)

    async def send_event(self, event: Event) -> None:
        self.events.append(event)

    def ahead_ms(self) -> list[float]:
        """How much audio the client holds right after each block, if it never ran dry."""
        start = self.times_ms[0]
        return [(n + 1) * pcm_ms(len(self.blocks[0])) - (at - start) for n, at in enumerate(self.times_ms)]


@dataclasses.dataclass
class Reply:
    playout: Playout
    client: Client
    record: TurnRecord


@pytest.fixture
def client(clock: Clock) -> Client:
    return Client(clock)


def start(client: Client, block: int = pcm_bytes(BLOCK_MS), **options: Any) -> Reply:
    record = TurnRecord("session", "turn")
    max_reply_s = options.pop("max_reply_s", 60.0)
    playback = Playback(block_bytes=block, **options)
    return Reply(Playout(client, record, playback, max_reply_s=max_reply_s), client, record)


async def audio(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def sound(ms: float) -> bytes:
    return bytes(n % 251 for n in range(pcm_bytes(ms)))


# Blocks.


@pytest.mark.parametrize("block_ms", [20, 32, 64, 100, 128])
async def test_every_block_has_the_same_size(client: Client, block_ms: float) -> None:
    await start(client, block=pcm_bytes(block_ms)).playout.play(audio(sound(333), sound(1), sound(500)))
    assert {len(block) for block in client.blocks} == {pcm_bytes(block_ms)}


@pytest.mark.parametrize("chunks_ms", [[1000], [1] * 1000, [333, 667], [31, 33, 936]], ids=len)
async def test_the_audio_arrives_whole_and_in_order(client: Client, chunks_ms: list[float]) -> None:
    pcm = sound(1000)
    ends = [pcm_bytes(sum(chunks_ms[: n + 1])) for n in range(len(chunks_ms))]
    chunks = [pcm[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    await start(client).playout.play(audio(*chunks))
    assert b"".join(client.blocks)[: len(pcm)] == pcm


async def test_the_last_block_is_filled_up_with_silence(client: Client) -> None:
    pcm = b"\1" * pcm_bytes(BLOCK_MS + 10)
    await start(client).playout.play(audio(pcm))
    assert client.blocks == [pcm[: pcm_bytes(BLOCK_MS)], pcm[pcm_bytes(BLOCK_MS) :] + bytes(pcm_bytes(BLOCK_MS - 10))]


async def test_a_reply_of_whole_blocks_gets_no_silence(client: Client) -> None:
    await start(client).playout.play(audio(b"\1" * pcm_bytes(3 * BLOCK_MS)))
    assert client.blocks == [b"\1" * pcm_bytes(BLOCK_MS)] * 3


async def test_a_reply_without_audio_sends_nothing(client: Client) -> None:
    reply = start(client)
    await reply.playout.play(audio())
    await reply.playout.wait_played()
    assert client.blocks == []
    assert client.clock.sleeps_s == []


def test_blocks_are_as_long_as_the_clients_between_20_and_128_ms() -> None:
    assert (pcm_bytes(20), pcm_bytes(128)) == (pcm_bytes(SHORTEST_BLOCK_MS), pcm_bytes(LONGEST_BLOCK_MS))
    assert [block_bytes(n) for n in (2, 640, 1024, 4096, 5000)] == [640, 640, 1024, 4096, 4096]


# Pace.


async def test_the_first_blocks_are_sent_at_once(client: Client) -> None:
    await start(client).playout.play(audio(sound(120)))
    assert client.times_ms == [0.0] * len(client.blocks)


async def test_a_long_reply_is_sent_in_real_time(client: Client) -> None:
    await start(client).playout.play(audio(sound(30_000)))
    assert client.times_ms[-1] == pytest.approx(30_000 - 120, abs=2 * BLOCK_MS)


async def test_the_client_is_never_more_than_the_lead_and_a_refill_ahead(client: Client) -> None:
    await start(client).playout.play(audio(sound(10_000)))
    assert max(client.ahead_ms()) <= 120 + playout_module.REFILL_BLOCKS * BLOCK_MS + 0.2


async def test_the_client_never_runs_dry(client: Client) -> None:
    await start(client).playout.play(audio(sound(10_000)))
    left_before_ms = [ahead - BLOCK_MS for ahead in client.ahead_ms()[1:]]
    assert min(left_before_ms) >= BLOCK_MS - 0.2


@pytest.mark.parametrize("lead_ms", [0.0, 10.0, 255.9])
async def test_the_lead_is_at_least_two_blocks(client: Client, lead_ms: float) -> None:
    reply = start(client, block=pcm_bytes(128), lead_ms=lead_ms)
    await reply.playout.play(audio(sound(10_000)))
    left_before_ms = [ahead - 128 for ahead in client.ahead_ms()[2:]]
    assert min(left_before_ms) == pytest.approx(256, abs=0.2)


async def test_blocks_are_sent_in_refills_to_wake_up_less(client: Client) -> None:
    await start(client).playout.play(audio(sound(10_000)))
    assert len(client.clock.sleeps_s) <= len(client.blocks) / playout_module.REFILL_BLOCKS


async def test_each_reply_has_its_own_lead(client: Client) -> None:
    for _ in range(2):
        before = len(client.blocks)
        begun_ms = (client.clock.now_s - START_S) * 1000
        await start(client).playout.play(audio(sound(120)))
        assert {*client.times_ms[before:]} == {begun_ms}
        client.clock.now_s += 5


async def late_audio(clock: Clock, *chunks: tuple[float, bytes]) -> AsyncIterator[bytes]:
    for wait_s, chunk in chunks:
        clock.now_s += wait_s
        yield chunk


async def test_after_an_underrun_the_playback_clock_goes_on_from_then(client: Client, clock: Clock) -> None:
    reply = start(client)
    chunk = sound(4 * BLOCK_MS)
    await reply.playout.play(late_audio(clock, (0.0, chunk), (5.0, chunk), (0.0, sound(1600))))
    assert client.times_ms[:4] == [0.0] * 4
    assert client.times_ms[4] == pytest.approx(5000)
    second = dataclasses.replace(client, blocks=client.blocks[4:], times_ms=client.times_ms[4:])
    assert max(second.ahead_ms()) <= 120 + playout_module.REFILL_BLOCKS * BLOCK_MS + 0.2
    assert client.times_ms[-1] == pytest.approx(5000 + 128 + 1600 - 120, abs=2 * BLOCK_MS)


async def test_time_that_sending_takes_is_not_slept_again(client: Client) -> None:
    client.slow_s = BLOCK_MS / 1000
    await start(client).playout.play(audio(sound(3200)))
    assert client.clock.sleeps_s == []


async def test_unpaced_audio_is_never_waited_for(client: Client) -> None:
    reply = start(client, paced=False)
    await reply.playout.play(audio(sound(30_000)))
    await reply.playout.wait_played()
    assert client.clock.sleeps_s == []
    assert len(b"".join(client.blocks)) >= pcm_bytes(30_000)


# The end.


async def test_the_end_waits_until_the_client_has_played_everything(client: Client, clock: Clock) -> None:
    reply = start(client)
    await reply.playout.play(audio(sound(10 * BLOCK_MS)))
    await reply.playout.wait_played()
    assert clock.now_s - START_S == about((10 * BLOCK_MS + 100 + BLOCK_MS) / 1000)


async def test_the_end_counts_the_clients_buffer(client: Client, clock: Clock) -> None:
    reply = start(client, buffer_ms=700.0)
    await reply.playout.play(audio(sound(BLOCK_MS)))
    await reply.playout.wait_played()
    assert clock.now_s - START_S == about((BLOCK_MS + 700 + BLOCK_MS) / 1000)


async def test_the_end_after_an_underrun_counts_from_the_last_block(client: Client, clock: Clock) -> None:
    reply = start(client)
    await reply.playout.play(late_audio(clock, (0.0, sound(BLOCK_MS)), (5.0, sound(BLOCK_MS))))
    await reply.playout.wait_played()
    assert clock.now_s - START_S == about(5 + (2 * BLOCK_MS + 100) / 1000)


async def test_what_was_played_long_ago_is_not_waited_for(client: Client, clock: Clock) -> None:
    reply = start(client)
    await reply.playout.play(audio(sound(BLOCK_MS)))
    clock.now_s += 60
    await reply.playout.wait_played()
    assert clock.now_s == pytest.approx(START_S + 60, abs=0.001)


async def test_the_record_has_the_length_and_the_times(client: Client, clock: Clock) -> None:
    reply = start(client)
    await reply.playout.play(audio(sound(1000)))
    assert reply.record.reply_ms == pytest.approx(32 * BLOCK_MS)
    assert reply.record.first_audio_sent is not None
    assert reply.record.last_audio_sent == pytest.approx(START_S + client.times_ms[-1] / 1000)


async def test_the_end_of_the_audio_is_told_before_it_is_waited_for(client: Client, clock: Clock) -> None:
    reply = start(client)
    await reply.playout.play(audio(sound(10 * BLOCK_MS)))
    assert client.events == []
    await reply.playout.wait_played()
    assert client.events == [ReplySent("turn")]


@pytest.mark.parametrize("rate_hz", [8_000, 24_000, 48_000])
async def test_blocks_and_times_are_those_of_the_rate(client: Client, clock: Clock, rate_hz: int) -> None:
    reply = start(client, block=pcm_bytes(BLOCK_MS, rate_hz), rate_hz=rate_hz, max_reply_s=1.0)
    await reply.playout.play(audio(bytes(pcm_bytes(960, rate_hz))))
    await reply.playout.wait_played()
    assert reply.record.reply_ms == pytest.approx(960)
    assert clock.now_s - START_S == about(0.96 + 0.132)
    with pytest.raises(ReplyTooLong):
        await reply.playout.play(audio(bytes(pcm_bytes(100, rate_hz))))


# Too long.


async def test_a_reply_that_is_too_long_is_cut(client: Client) -> None:
    reply = start(client, max_reply_s=1.0)
    with pytest.raises(ReplyTooLong, match=r"0\.992 s"):
        await reply.playout.play(audio(sound(5000)))
    assert len(client.blocks) == 31
    assert reply.record.reply_ms == pytest.approx(992)


async def test_a_reply_of_exactly_the_limit_is_not_cut(client: Client) -> None:
    await start(client, max_reply_s=0.96).playout.play(audio(sound(960)))
    assert len(client.blocks) == 30


async def test_an_unpaced_reply_that_is_too_long_is_cut_too(client: Client) -> None:
    with pytest.raises(ReplyTooLong):
        await start(client, max_reply_s=1.0, paced=False).playout.play(audio(sound(5000)))


async def test_a_reply_that_was_cut_is_played_to_where_it_was_cut(client: Client, clock: Clock) -> None:
    reply = start(client, max_reply_s=1.0)
    with pytest.raises(ReplyTooLong):
        await reply.playout.play(audio(sound(5000)))
    await reply.playout.wait_played()
    assert clock.now_s - START_S == about(0.992 + 0.132)
