"""The original client, which ours must go on serving: how it sends, plays and takes its turns (docs/protocol.md)."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import anyio
import pytest
from service import CLIENT, Service, eventually, main_hz, noise, utterance
from websockets.asyncio.client import connect

RATE_HZ = 16_000
DONE_LATEST_S = 0.6
TONES_HZ = (700.0, 1100.0)


@dataclass
class Turn:
    """The messages of one reply, and when each came."""

    blocks: list[tuple[float, bytes]] = field(default_factory=list)
    done_at: float = 0.0


class OriginalClient:
    """Sends a block of its microphone in real time; empty messages while a reply comes in; listens again on DONE."""

    def __init__(self, url: str, block: int) -> None:
        self.url = url
        self.block_bytes = 2 * block
        self.block_s = block / RATE_HZ
        self.turns: list[Turn] = []
        self.empty_messages = 0
        self._turn = Turn()
        self._replying = False
        self._says = b""
        self._room = noise(1000 * self.block_s)

    async def converse(self, *says: bytes) -> None:
        """Say each thing when the reply to the one before is over."""
        headers = {"Authorization": "Bearer of nobody"}
        async with (
            connect(self.url, **CLIENT, additional_headers=headers) as self._websocket,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(self._microphone)
            tasks.start_soon(self._receive)
            for number, said in enumerate(says):
                self._says = said
                await eventually(lambda number=number: len(self.turns) == number + 1, "DONE")
            await anyio.sleep(0.5)  # for a DONE too many
            tasks.cancel_scope.cancel()

    async def _microphone(self) -> None:
        due = time.monotonic()
        while True:
            due += self.block_s
            await anyio.sleep(max(0.0, due - time.monotonic()))
            heard, self._says = self._says[: self.block_bytes], self._says[self.block_bytes :]
            if self._replying:
                self.empty_messages += 1
                await self._websocket.send(b"")
            else:
                await self._websocket.send(heard.ljust(self.block_bytes, b"\0") if heard else self._room)

    async def _receive(self) -> None:
        async for message in self._websocket:
            assert isinstance(message, bytes)
            if message == b"DONE":
                self._turn.done_at = time.monotonic()
                self.turns.append(self._turn)
                self._turn = Turn()
                self._replying = False
            else:
                self._turn.blocks.append((time.monotonic(), message))
                self._replying = True

    def play(self, turn: Turn, phase: float) -> list[tuple[float, bytes]]:
        """What the sound card plays at each of its ticks: one message, cut or filled to a block, or silence.

        `phase` is where between two ticks the first message falls, 0..1.
        """
        waiting = list(turn.blocks)
        tick = waiting[0][0] + phase * self.block_s
        played = []
        while waiting:
            if waiting[0][0] <= tick:
                played.append((tick, waiting.pop(0)[1][: self.block_bytes].ljust(self.block_bytes, b"\0")))
            else:
                played.append((tick, b""))
            tick += self.block_s
        return played


@dataclass
class Recording:
    """What was heard of the same two questions, by clients with blocks of 1024 and 512, and of spoken replies."""

    by_block: dict[int, OriginalClient]
    spoken: OriginalClient


@pytest.fixture(scope="module")
def recording() -> Iterator[Recording]:
    async def converse(client: OriginalClient, *hz: float) -> None:
        await client.converse(*(utterance(pitch, "Where are you now", after_ms=0) for pitch in hz))

    async def converse_all() -> None:
        async with anyio.create_task_group() as tasks:
            for client in made.by_block.values():
                tasks.start_soon(converse, client, *TONES_HZ)
            tasks.start_soon(converse, made.spoken, TONES_HZ[0])

    # The second service answers with speech, whose length is no multiple of a block.
    with Service() as service, Service("--tts=espeak", "--espeak_rate=300") as speaking:
        made = Recording(
            {block: OriginalClient(f"ws://127.0.0.1:{service.port}/ws", block) for block in (1024, 512)},
            OriginalClient(f"ws://127.0.0.1:{speaking.port}/ws", 1024),
        )
        anyio.run(converse_all)
        yield made


def check_playback(client: OriginalClient) -> None:
    for turn in client.turns:
        sent = b"".join(message for _, message in turn.blocks)
        assert {len(message) for _, message in turn.blocks} == {client.block_bytes}, "a block would be cut or filled"
        for phase in (0.0, 0.3, 0.6, 0.99):
            played = client.play(turn, phase)
            assert b"" not in [block for _, block in played], "playback ran dry"
            assert b"".join(block for _, block in played) == sent
            over = played[-1][0] + client.block_s
            assert 0 <= turn.done_at - over <= DONE_LATEST_S


@pytest.mark.parametrize("block", [1024, 512])
def test_every_turn_has_one_done_and_its_whole_reply(recording: Recording, block: int) -> None:
    client = recording.by_block[block]
    assert len(client.turns) == 2
    for turn, hz in zip(client.turns, TONES_HZ, strict=True):
        reply = b"".join(message for _, message in turn.blocks)
        assert main_hz(reply) == pytest.approx(hz, abs=5)
        assert 0 <= len(reply) - 2 * 0.7 * 32_000 < client.block_bytes


@pytest.mark.parametrize("block", [1024, 512])
def test_a_tone_is_played_whole_and_done_follows_it(recording: Recording, block: int) -> None:
    check_playback(recording.by_block[block])


def test_speech_is_played_whole_and_done_follows_it(recording: Recording) -> None:
    assert len(recording.spoken.turns) == 1
    check_playback(recording.spoken)


def test_the_client_fell_silent_while_the_reply_came_in(recording: Recording) -> None:
    for client in recording.by_block.values():
        assert client.empty_messages > 10


def test_the_reply_is_sent_in_real_time(recording: Recording) -> None:
    """A client that queues what it gets holds little of it: an interruption would have to cut that."""
    for client in recording.by_block.values():
        for turn in client.turns:
            first = turn.blocks[0][0]
            for number, (at, _) in enumerate(turn.blocks):
                assert (number + 1) * client.block_s - (at - first) <= 0.128 + 3 * client.block_s
