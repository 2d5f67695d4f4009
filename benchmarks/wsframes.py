"""The websocket frames (RFC 6455) that a load generator needs, by hand, because it must cost next to nothing."""

import struct
from collections.abc import Iterator

import numpy as np

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_FINAL, _MASKED = 0x80, 0x80
MASK = bytes.fromhex("5a3c96e1")
"""Every frame has the same key: the server has the same work to undo it, and clips can be masked ahead of time."""


def client_frame(opcode: int, payload: bytes) -> bytes:
    """One whole frame as a client sends it."""
    size = len(payload)
    if size < 126:
        head = struct.pack("!BB", _FINAL | opcode, _MASKED | size)
    elif size < 65_536:
        head = struct.pack("!BBH", _FINAL | opcode, _MASKED | 126, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | 127, size)
    key = np.frombuffer((MASK * (size // 4 + 1))[:size], dtype=np.uint8)
    return head + MASK + (np.frombuffer(payload, dtype=np.uint8) ^ key).tobytes()


def client_frames(audio: np.ndarray, samples: int) -> list[bytes]:
    """int16 audio, cut into binary frames of `samples` each, ready to send."""
    data = audio.tobytes()
    return [client_frame(BINARY, data[start : start + 2 * samples]) for start in range(0, len(data), 2 * samples)]


class FrameReader:
    """Puts a server's byte stream back together into messages."""

    def __init__(self) -> None:
        self._rest = b""
        self._opcode = 0
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield `(opcode, payload)` for every message that `data` completes.

        Raises ValueError for a masked frame, which a server must not send.
        """
        data = self._rest + data if self._rest else data
        at = 0
        while len(data) - at >= 2:
            first, size = data[at], data[at + 1]
            start = at + 2
            if size & _MASKED:
                raise ValueError("the server sent a masked frame")
            if size == 126:
                if len(data) < start + 2:
                    break
                size, start = int.from_bytes(data[start : start + 2], "big"), start + 2
            elif size == 127:
                if len(data) < start + 8:
                    break
                size, start = int.from_bytes(data[start : start + 8], "big"), start + 8
            if len(data) < start + size:
                break
            at = start + size
            yield from self._frame(first, data[start:at])
        self._rest = data[at:]

    def _frame(self, first: int, payload: bytes) -> Iterator[tuple[int, bytes]]:
        opcode = first & 0x0F
        if opcode >= CLOSE or (first & _FINAL and opcode):
            yield opcode, payload
            return
        self._opcode = opcode or self._opcode
        self._parts.append(payload)
        if first & _FINAL:
            whole, self._parts = b"".join(self._parts), []
            yield self._opcode, whole
