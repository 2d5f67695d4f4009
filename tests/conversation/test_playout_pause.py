"""A reply that is paused, goes on or stops, and where it is heard by then."""

from collections.abc import Callable
from types import SimpleNamespace

import anyio
import pytest
from test_playout import BLOCK_MS, Client, Clock, anyio_backend, audio, client, clock, sound, start

from speech_to_speech.conversation.events import ReplySent
from speech_to_speech.errors import PlaybackUnknown

pytestmark = pytest.mark.anyio
__all__ = ["anyio_backend", "client", "clock"]

BUFFER_S = 0.1 + BLOCK_MS / 1000


def at_block(client: Client, number: int, act: Callable[[], object]) -> None:
    """Do something when that block is sent."""
    send = client.send_audio

    async def send_audio(turn_id: str, block: bytes) -> None:
        await send(turn_id, block)
        if len(client.blocks) == number:
            act()

    client.send_audio = send_audio  # type: ignore[method-assign]


@pytest.mark.parametrize("holds", [True, False])
async def test_a_paused_reply_sends_nothing_and_goes_on_where_it_was(client: Client, holds: bool) -> None:
    at_block(client, 10, lambda: reply.playout.pause())
    reply = start(client, holds=holds)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply.playout.play, audio(sound(1000)))
        await anyio.wait_all_tasks_blocked()
        assert (len(client.blocks), reply.playout.paused) == (10, True)
        client.clock.now_s += 5.0
        reply.playout.resume()
    assert b"".join(client.blocks)[:32_000] == sound(1000)
    assert client.times_ms[10] >= 5000


async def test_a_client_that_holds_the_sound_keeps_its_place(client: Client) -> None:
    reply = start(client, holds=True)
    await reply.playout.play(audio(sound(320)))
    client.clock.now_s += 0.2 + BUFFER_S - (client.clock.now_s - 1000)
    played_ms = reply.playout.played_ms
    assert played_ms == pytest.approx(200, abs=2)
    reply.playout.pause()
    client.clock.now_s += 60
    assert reply.playout.played_ms == played_ms
    reply.playout.resume()
    assert reply.playout.played_ms == pytest.approx(played_ms)
    client.clock.now_s += 0.05
    assert reply.playout.played_ms == pytest.approx(played_ms + 50)


async def test_a_client_that_knows_no_pause_plays_what_it_has(client: Client) -> None:
    reply = start(client)
    await reply.playout.play(audio(sound(320)))
    reply.playout.pause()
    client.clock.now_s += 60
    assert reply.playout.played_ms == 320


async def test_played_is_never_more_than_sent_or_less_than_nothing(client: Client) -> None:
    played: list[float] = []
    at_block(client, 1, lambda: played.append(reply.playout.played_ms))
    reply = start(client)
    assert reply.playout.played_ms == 0
    await reply.playout.play(audio(sound(320)))
    assert played == [0]
    client.clock.now_s += 60
    assert reply.playout.played_ms == 320


async def test_the_end_of_a_paused_reply_waits_for_its_resumption(client: Client) -> None:
    reply = start(client, holds=True)
    await reply.playout.play(audio(sound(320)))
    reply.playout.pause()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply.playout.wait_played)
        await anyio.wait_all_tasks_blocked()
        client.clock.now_s += 30
        assert reply.playout.played_ms < 320
        reply.playout.resume()
    assert reply.playout.played_ms == 320


async def test_a_stopped_reply_sends_nothing_more(client: Client) -> None:
    at_block(client, 3, lambda: reply.playout.stop())
    reply = start(client)
    await reply.playout.play(audio(sound(1000)))
    assert len(client.blocks) == 3


# Reports.


async def test_a_report_is_believed_and_goes_on_with_the_clock(client: Client) -> None:
    reply = start(client)
    await reply.playout.play(audio(sound(960)))
    reply.playout.report(100)
    assert reply.playout.played_ms == 100
    client.clock.now_s += 0.05
    assert reply.playout.played_ms == pytest.approx(150)
    reply.playout.report(120)
    assert reply.playout.played_ms == 120
    reply.playout.report(1e9)
    assert reply.playout.played_ms == 960


async def test_a_report_never_takes_back_an_earlier_one(client: Client) -> None:
    reply = start(client)
    await reply.playout.play(audio(sound(960)))
    reply.playout.report(500)
    reply.playout.report(100)
    assert reply.playout.played_ms == 500


async def test_of_a_client_that_must_report_only_the_reported_is_played(client: Client, clock: Clock) -> None:
    reply = start(client, paced=False, reports="always")
    await reply.playout.play(audio(sound(960)))
    clock.now_s += 60
    assert reply.playout.played_ms == 0
    reply.playout.report(320)
    clock.now_s += 60
    assert reply.playout.played_ms == 320


async def test_an_unpaced_client_without_reports_has_played_what_it_was_sent(client: Client) -> None:
    reply = start(client, paced=False)
    await reply.playout.play(audio(sound(960)))
    assert reply.playout.played_ms == 960


async def test_a_listener_is_told_of_each_block_and_when_it_sounds(client: Client) -> None:
    sent: list[tuple[bytes, float]] = []
    reply = start(client)
    reply.playout._on_sent = lambda block, in_s: sent.append((block, in_s))
    await reply.playout.play(audio(sound(320)))
    assert [block for block, _ in sent] == client.blocks
    sounds_ms = [at + in_s * 1000 for at, (_, in_s) in zip(client.times_ms, sent, strict=True)]
    assert sounds_ms == pytest.approx([n * BLOCK_MS for n in range(10)], abs=1)
    assert max(in_s for _, in_s in sent) > 0.1


async def test_who_must_report_and_does_not_is_told() -> None:
    reply = start(Client(SimpleNamespace(now_s=0.0)), paced=False, reports="always", report_timeout_s=0.01)
    await reply.playout.play(audio(sound(320)))
    with pytest.raises(PlaybackUnknown):
        await reply.playout.wait_played()
    reply.playout.report(320)
    await reply.playout.wait_played()


async def test_an_unpaced_client_that_reports_on_a_cut_plays_by_the_clock(client: Client, clock: Clock) -> None:
    reply = start(client, paced=False, reports="on a cut")
    await reply.playout.play(audio(sound(960)))
    assert len(client.blocks) == 30
    assert reply.playout.played_ms == 0
    clock.now_s += BUFFER_S + 0.4
    assert reply.playout.played_ms == pytest.approx(400, abs=2)
    reply.playout.report(416)
    assert reply.playout.played_ms == pytest.approx(416, abs=2)
    await reply.playout.wait_played()
    assert clock.now_s - 1000 == pytest.approx(0.96 + BUFFER_S, abs=0.01)


async def test_the_end_of_a_paused_reply_is_told_when_it_goes_on(client: Client) -> None:
    reply = start(client, paced=False)
    await reply.playout.play(audio(sound(320)))
    reply.playout.pause()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(reply.playout.wait_played)
        await anyio.wait_all_tasks_blocked()
        assert client.events == []
        reply.playout.resume()
    assert client.events == [ReplySent("turn")]


async def test_the_end_of_a_reply_that_was_stopped_is_not_told(client: Client) -> None:
    reply = start(client, paced=False)
    await reply.playout.play(audio(sound(320)))
    reply.playout.stop()
    await reply.playout.wait_played()
    assert client.events == []
