"""Where the frames of an MP3 stream begin and end (ISO/IEC 11172-3 and 13818-3, and MPEG 2.5): headers only, no sound.

Each frame has a header from which its length follows, so the next one must begin where it ends. Where it does not, the
stream is damaged, or is no MP3 at all.
"""

from dataclasses import dataclass

from speech_to_speech.errors import BadAudio

MPEG1, MPEG2, MPEG25 = 3, 2, 0  # the version bits; 1 is reserved
LAYER_3 = 1
RATES_HZ = {MPEG1: (44_100, 48_000, 32_000), MPEG2: (22_050, 24_000, 16_000), MPEG25: (11_025, 12_000, 8_000)}
LOW_KBPS = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)  # MPEG 2 and 2.5
HIGH_KBPS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
HEADER_BYTES = 4
ID3V2_BYTES, ID3V1_BYTES = 10, 128  # the header of a tag before the sound; the whole tag behind the sound
GARBAGE_BYTES = 4096  # bytes without a frame, after which the mistake is told again


@dataclass(frozen=True, slots=True)
class FrameHeader:
    """What the length of a frame depends on."""

    version: int
    rate_hz: int
    size: int
    """Bytes of the whole frame."""


def frame_header(content: bytes | bytearray, at: int = 0) -> FrameHeader | None:
    """The header of a Layer III frame at this position; None if there is none. Free-format frames are not known."""
    if len(content) < at + HEADER_BYTES or content[at] != 0xFF or content[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = content[at + 1] >> 3 & 3, content[at + 1] >> 1 & 3
    bitrate, rate, padding = content[at + 2] >> 4, content[at + 2] >> 2 & 3, content[at + 2] >> 1 & 1
    if version not in RATES_HZ or layer != LAYER_3 or bitrate in (0, 15) or rate == 3 or content[at + 3] & 3 == 2:
        return None
    rate_hz = RATES_HZ[version][rate]
    kbps = (HIGH_KBPS if version == MPEG1 else LOW_KBPS)[bitrate - 1]
    return FrameHeader(version, rate_hz, (144 if version == MPEG1 else 72) * kbps * 1000 // rate_hz + padding)


def tag_bytes(content: bytes | bytearray) -> int:
    """How long the ID3 tag is that begins here; 0 if none does, or too little of it is there to say."""
    if content.startswith(b"ID3") and len(content) >= ID3V2_BYTES:
        sevens = [byte & 0x7F for byte in content[6:10]]  # 28 bits, seven in each byte
        footer = ID3V2_BYTES if content[5] & 0x10 else 0
        return ID3V2_BYTES + footer + (sevens[0] << 21 | sevens[1] << 14 | sevens[2] << 7 | sevens[3])
    return ID3V1_BYTES if content.startswith(b"TAG") else 0


class FrameSplitter:
    """Cuts a stream, which comes in pieces of any size, into frames. ID3 tags between them are left out.

    After damage it goes on at the first header that another one of its kind follows. So does it begin if not `in_step`.
    """

    def __init__(self, in_step: bool = True) -> None:
        self._buffer = bytearray()
        self._tag_bytes = 0  # bytes of a tag that are still to come
        self._in_step = in_step
        self._garbage_bytes = 0

    @property
    def in_frame(self) -> bool:
        """A part of a frame is there, and waits for the rest."""
        return self._in_step and bool(self._buffer)

    def push(self, piece: bytes) -> None:
        self._buffer += piece

    def pull(self) -> bytes | None:
        """The next frame; None if it has not come yet.

        Raises:
            BadAudio: there is none where one must begin. Told once, and again when much more comes without a frame;
                what comes next can be pulled then.
        """
        if not self._in_step:
            self._search()
        while self._skip_tag():
            pass
        if not self._in_step or len(self._buffer) < HEADER_BYTES:
            return None
        header = frame_header(self._buffer)
        if header is None:
            if self._buffer.startswith(b"ID3"):
                return None  # the rest of the tag's header is to come
            self._in_step, self._garbage_bytes = False, 0
            found = self._buffer[:HEADER_BYTES].hex(" ")
            raise BadAudio(f"no MP3 frame begins where one must (bytes {found}): damaged, cut off, or no MP3 at all")
        if len(self._buffer) < header.size:
            return None
        frame = bytes(self._buffer[: header.size])
        del self._buffer[: header.size]
        return frame

    def _skip_tag(self) -> bool:
        if self._in_step and not self._tag_bytes:
            self._tag_bytes = tag_bytes(self._buffer)
        skipped = min(self._tag_bytes, len(self._buffer))
        del self._buffer[:skipped]
        self._tag_bytes -= skipped
        return skipped > 0

    def _search(self) -> None:
        """Drop what comes before the next frame; in steps, so that no amount of garbage takes long."""
        at, limit = 0, GARBAGE_BYTES - self._garbage_bytes
        while (at := self._buffer.find(0xFF, at, limit)) >= 0:
            header = frame_header(self._buffer, at)
            if len(self._buffer) < at + (header.size if header else 0) + HEADER_BYTES:
                break  # the bytes that decide are to come
            following = frame_header(self._buffer, at + header.size) if header else None
            if header and following and (header.version, header.rate_hz) == (following.version, following.rate_hz):
                self._in_step = True
                break
            at += 1
        dropped = min(len(self._buffer), limit) if at < 0 else at
        del self._buffer[:dropped]
        self._garbage_bytes += dropped
        if self._garbage_bytes >= GARBAGE_BYTES:
            self._garbage_bytes = 0
            raise BadAudio(f"no MP3 frame in {GARBAGE_BYTES} bytes")
