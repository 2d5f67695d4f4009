"""MP3 that others have made, and a conversation in it."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import av
import numpy as np
from service import CLIENT, Reply, Service, Talk
from websockets.asyncio.client import connect

from speech_to_speech.audio.mp3 import PRIMING_SAMPLES, Mp3Decoder, Mp3Encoder
from speech_to_speech.audio.samples import Samples, to_float
from speech_to_speech.errors import BadAudio
from speech_to_speech.frames import SAMPLE_RATE_HZ


def mp3_file(samples: Samples, rate_hz: int = SAMPLE_RATE_HZ, channels: int = 1, kbps: int = 64) -> bytes:
    """A file as most programs write it: ID3 tags, a frame that holds no sound, frames that lend each other bits."""
    content = io.BytesIO()
    with av.open(content, "w", "mp3", options={"write_id3v1": "1"}) as container:
        container.metadata["title"] = "a question"
        layout = "stereo" if channels == 2 else "mono"
        stream = container.add_stream("libmp3lame", rate_hz, layout=layout, bit_rate=1000 * kbps)
        frame = av.AudioFrame.from_ndarray(np.tile(samples, (channels, 1)).astype(np.float32), "fltp", layout)
        frame.sample_rate = rate_hz
        for part in (frame, None):
            container.mux(stream.encode(part))
    return content.getvalue()


def encode(pcm: bytes, kbps: int = 64) -> bytes:
    encoder = Mp3Encoder(kbps)
    return encoder.push(pcm) + encoder.finish()


def decode(stream: bytes, piece: int = 1000, skip_samples: int = 0) -> tuple[bytes, list[BadAudio]]:
    """The sound, and what was wrong on the way."""
    decoder, sound, errors = Mp3Decoder(skip_samples), b"", []
    for start in range(0, len(stream), piece):
        decoder.push(stream[start : start + piece])
        while True:
            try:
                if (pcm := decoder.pull()) is None:
                    break
                sound += pcm
            except BadAudio as error:
                errors.append(error)
    if cut_off := decoder.stop():
        errors.append(cut_off)
    return sound, errors


def heard(reply: Reply) -> bytes:
    """The sound of a reply in MP3, without the silence before it."""
    sound, errors = decode(bytes(reply.audio), skip_samples=PRIMING_SAMPLES)
    assert errors == []
    return sound


def snr_db(sound: bytes, copy: bytes) -> float:
    clean, coded = to_float(sound), to_float(copy)[: len(sound) // 2]
    return float(10 * np.log10(np.sum(clean**2) / np.sum((clean - coded) ** 2)))


@asynccontextmanager
async def talk_mp3(service: Service, **query: object) -> AsyncIterator[Talk]:
    async with connect(service.url(**{"events": 1, "paced": 0, "codec": "mp3", **query}), **CLIENT) as websocket:
        yield Talk(websocket)
