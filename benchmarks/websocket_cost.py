"""What the websocket costs the server: CPU time per 20 ms message, received and sent, under the load of many lines."""

import sys

from benchmarks import procfs
from benchmarks.handshake import connect
from benchmarks.microphones import FRAME_S, Connection, Microphones, clock
from benchmarks.service import Service, free_port
from benchmarks.units import FRAME_BYTES
from benchmarks.wsframes import BINARY, client_frame

SETTLE_S = 1.0
FRAME = client_frame(BINARY, bytes(range(256)) * 2 + bytes(FRAME_BYTES - 512))


class _Plain:
    """A line that sends the same frame again and again."""

    def __init__(self) -> None:
        self.got = 0

    def next_frame(self, now: float) -> bytes:
        return FRAME

    def received(self, opcode: int, payload: bytes, now: float) -> None:
        self.got += 1

    def lost(self, reason: str) -> None:
        raise ConnectionError(reason)


def _microseconds_per_message(path: str, protocol: str, lines: int, seconds: float) -> float:
    """Server CPU per message a client sent, in µs. The lines send in real time, as microphones do."""
    port = free_port()
    with Service([sys.executable, "-m", "benchmarks.sink", str(port), protocol], port) as server:
        plain = [_Plain() for _ in range(lines)]
        connections = [Connection(*connect(f"ws://127.0.0.1:{port}{path}"), line) for line in plain]
        microphones = Microphones(connections)
        start = clock()
        marks: list[tuple[float, int]] = []

        def going(now: float) -> bool:
            if not marks and now - start >= SETTLE_S:
                marks.append((procfs.cpu_s(server.pid), microphones.frames_sent))
            return now - start < SETTLE_S + seconds

        microphones.run(going)
        used_s = procfs.cpu_s(server.pid) - marks[0][0]
        sent = microphones.frames_sent - marks[0][1]
        if path == "/echo" and sum(line.got for line in plain) < microphones.frames_sent - lines * (1 / FRAME_S):
            raise RuntimeError("the echo lost messages, so its cost means nothing")
        return 1e6 * used_s / sent


def receive_and_send_us(protocol: str, lines: int, seconds: float) -> tuple[float, float]:
    """CPU per message received, and per message sent (an echo's cost less that of receiving), in µs."""
    receive = _microseconds_per_message("/take", protocol, lines, seconds)
    return receive, _microseconds_per_message("/echo", protocol, lines, seconds) - receive
