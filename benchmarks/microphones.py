"""Many microphones on one thread: each sends a frame every 20 ms, in real time, whatever comes back.

The microphones' starts are spread over the 20 ms, so that the sends are. Who sends what, and what answers mean, is the
`Line`'s business; this loop only keeps time, and records how well it did.
"""

import select
import socket
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from benchmarks.units import FRAME_MS
from benchmarks.wsframes import CLOSE, PING, PONG, FrameReader, client_frame

FRAME_S = FRAME_MS / 1000
SLOTS = 20
"""Sends are spread over this many moments of the frame: one a millisecond."""
LAG_STEP_S = 0.0001
LAG_STEPS = 20_000
"""The histogram of lag ends at 2 s."""

clock = time.monotonic


class Line(Protocol):
    """One microphone and its speaker, on an open connection."""

    def next_frame(self, now: float) -> bytes:
        """The whole, masked websocket frame to send now; `now` is on the `clock`, in seconds."""

    def received(self, opcode: int, payload: bytes, now: float) -> None:
        """A text or binary message came in."""

    def lost(self, reason: str) -> None:
        """The server closed, or the connection broke: nothing follows."""


class LagHistogram:
    """How much later than planned frames were sent, in steps of 0.1 ms."""

    def __init__(self) -> None:
        self.counts = [0] * (LAG_STEPS + 1)

    def add(self, lag_s: float) -> None:
        """Count one frame."""
        self.counts[min(LAG_STEPS, int(lag_s / LAG_STEP_S))] += 1

    def percentile_ms(self, percent: float) -> float:
        """The upper edge, in ms, of the step in which the percentile lies; NaN if nothing was sent."""
        wanted, seen = sum(self.counts) * percent / 100, 0
        for step, count in enumerate(self.counts):
            seen += count
            if count and seen >= wanted:
                return (step + 1) * LAG_STEP_S * 1000
        return float("nan")


class Connection:
    """A socket, the frames not yet taken by the kernel, and the line it serves."""

    def __init__(self, sock: socket.socket, already_read: bytes, line: Line) -> None:
        self.sock, self.line = sock, line
        self.reader = FrameReader()
        self.waiting = bytearray()
        self.already_read = already_read
        self.open = True

    def send(self, data: bytes) -> None:
        """Send, or keep in order for when the socket is writable again. Raises OSError when the connection is gone."""
        if self.waiting:
            self.waiting += data
            return
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self.waiting += data[sent:]

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        if self.waiting:
            try:
                del self.waiting[: self.sock.send(self.waiting)]
            except BlockingIOError:
                return


class Microphones:
    """The loop over all connections."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.connections = connections
        self.lag = LagHistogram()
        self.frames_sent = 0
        self._poll = select.epoll()
        self._by_fd = {connection.sock.fileno(): connection for connection in connections}
        for fd in self._by_fd:
            self._poll.register(fd, select.EPOLLIN)
        spread: list[list[Connection]] = [[] for _ in range(SLOTS)]
        for index, connection in enumerate(connections):
            spread[index * SLOTS // len(connections)].append(connection)
        self._slots = [(slot * FRAME_S / SLOTS, group) for slot, group in enumerate(spread) if group]

    def run(self, going: Callable[[float], bool]) -> None:
        """Send and receive until `going(now)`, asked once a frame, is false, or all are lost. Closes them."""
        try:
            now = clock()
            for connection in self.connections:
                self._take(connection, connection.already_read, now)
            start = clock() + FRAME_S
            frame = 0
            while self._by_fd and going(clock()):
                for offset, group in self._slots:
                    due = start + frame * FRAME_S + offset
                    self._receive_until(due)
                    self._send(group, due)
                frame += 1
        finally:
            self._close_all()

    def _receive_until(self, due: float) -> None:
        while True:
            left = due - clock()
            for fd, events in self._poll.poll(max(0.0, left)):
                connection = self._by_fd.get(fd)
                if connection is not None:
                    self._ready(connection, events)
            if left <= 0:
                return

    def _send(self, group: list[Connection], due: float) -> None:
        for connection in group:
            if not connection.open:
                continue
            now = clock()
            self.lag.add(now - due)
            try:
                connection.send(connection.line.next_frame(now))
            except OSError as error:
                self._lose(connection, str(error))
                continue
            self.frames_sent += 1
            if connection.waiting:
                self._poll.modify(connection.sock.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _ready(self, connection: Connection, events: int) -> None:
        try:
            if events & select.EPOLLOUT:
                connection.flush()
                if not connection.waiting:
                    self._poll.modify(connection.sock.fileno(), select.EPOLLIN)
            if events & ~select.EPOLLOUT:
                data = connection.sock.recv(65_536)
                if not data:
                    self._lose(connection, "the server closed the connection without a close frame")
                    return
                self._take(connection, data, clock())
        except BlockingIOError:
            return
        except (OSError, ValueError) as error:
            self._lose(connection, str(error))

    def _take(self, connection: Connection, data: bytes, now: float) -> None:
        for opcode, payload in connection.reader.feed(data):
            if opcode == PING:
                connection.send(client_frame(PONG, payload))
            elif opcode == CLOSE:
                code = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
                self._lose(connection, f"the server closed with {code} {payload[2:].decode(errors='replace')}")
                return
            elif opcode != PONG:
                connection.line.received(opcode, payload, now)

    def _lose(self, connection: Connection, reason: str) -> None:
        if connection.open:
            connection.open = False
            self._by_fd.pop(connection.sock.fileno(), None)
            self._poll.unregister(connection.sock.fileno())
            connection.sock.close()
            connection.line.lost(reason)

    def _close_all(self) -> None:
        goodbye = client_frame(CLOSE, (1000).to_bytes(2, "big"))
        for connection in self._by_fd.values():
            try:
                connection.send(goodbye)
            except OSError:
                continue
            finally:
                connection.open = False
                connection.sock.close()
        self._by_fd.clear()
        self._poll.close()
