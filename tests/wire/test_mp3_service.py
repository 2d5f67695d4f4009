"""MP3 over real websockets: the service, and the console client against it."""

import functools
import time
from collections.abc import Iterator

import anyio
import numpy as np
import pytest
from mp3_support import decode, encode, heard, mp3_file, talk_mp3
from service import CLIENT, Service, main_hz, noise, utterance
from speech import spoken
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from speech_to_speech.audio.mp3 import PRIMING_SAMPLES, Mp3Decoder
from speech_to_speech.audio.samples import to_float
from speech_to_speech.frames import pcm_ms

pytestmark = pytest.mark.anyio
FRAME = 288  # bytes at 64 kbps
REAL_TIME = 0.25  # at which MP3 of 64 kbps is sent, compared to PCM


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("--bad_message_limit=2") as running:
        yield running


@pytest.fixture(scope="module")
def talker() -> Iterator[Service]:
    """The embedded models."""
    with Service(profile="embedded") as running:
        yield running


def question(text: str = "I am happy to see you.") -> bytes:
    return noise(200) + spoken(text) + noise(1000, seed=1)


# The conversation.


async def test_a_spoken_question_is_understood_and_answered(talker: Service) -> None:
    async with talk_mp3(talker) as talk:
        reply = await talk.turn(encode(question()), block=100)
        assert "happy to see you" in reply.transcript
        [ended] = reply.of("turn_ended")
        assert (ended["outcome"], ended["error"]) == ("spoken", None)
        assert pcm_ms(len(heard(reply))) == pytest.approx(ended["reply_ms"], abs=0.1)
        assert len(reply.audio) == pytest.approx(len(heard(reply)) / 4, rel=0.05)


async def test_a_file_of_another_program_is_understood(talker: Service) -> None:
    samples = np.repeat(to_float(question()), 2)  # 32 kHz
    async with talk_mp3(talker) as talk:
        reply = await talk.turn(mp3_file(samples, 32_000, channels=2, kbps=128), block=1 << 20)
        assert "happy to see you" in reply.transcript


async def test_each_reply_is_a_stream_of_its_own(service: Service) -> None:
    async with talk_mp3(service, bitrate_kbps=32) as talk:
        for hz in (500, 900):
            reply = await talk.turn(encode(utterance(hz)))
            assert main_hz(heard(reply)) == pytest.approx(hz, abs=5)
            assert pcm_ms(len(heard(reply))) == pytest.approx(reply.of("turn_ended")[0]["reply_ms"], abs=0.1)
            assert len(reply.audio) / 4000 == pytest.approx(len(heard(reply)) / 32_000, rel=0.05)  # 32 kbps
            assert reply.of("error") == []


async def test_in_real_time_the_sound_never_runs_out_and_done_comes_when_it_has_ended(service: Service) -> None:
    async with talk_mp3(service, paced=1) as talk:
        await talk.send(encode(utterance(700)))
        decoder, sound_ms, begun, left = Mp3Decoder(PRIMING_SAMPLES), 0.0, 0.0, []
        while (message := await talk.websocket.recv()) != b"DONE":
            if isinstance(message, str):
                continue
            now = time.monotonic()
            begun = begun or now
            left.append(sound_ms - (now - begun) * 1000)
            decoder.push(message)
            while (pcm := decoder.pull()) is not None:
                sound_ms += pcm_ms(len(pcm))
        assert sound_ms > 1200
        assert min(left[3:]) > 0  # at each message there was still something to play
        assert max(left) < 400  # and not much more than the lead
        assert (time.monotonic() - begun) * 1000 >= sound_ms


async def test_an_interrupted_reply_does_not_leak_into_the_next(service: Service) -> None:
    stop = encode(utterance(900, "stop it now", after_ms=500))
    async with talk_mp3(service, paced=1, full_duplex=1) as talk, anyio.create_task_group() as tasks:
        await talk.send(encode(utterance(500, after_ms=500)), block=FRAME)
        begun = b""
        while len(begun) < 20 * FRAME:  # 0.7 s: some of its words
            message = await talk.websocket.recv()
            begun += message if isinstance(message, bytes) else b""
        tasks.start_soon(functools.partial(talk.send, stop, speed=REAL_TIME, block=FRAME))
        first, second = await talk.reply(), await talk.reply()
    assert first.of("turn_ended")[0]["outcome"] == "interrupted"
    sound, errors = decode(begun + first.audio, skip_samples=PRIMING_SAMPLES)
    assert errors == []
    assert main_hz(sound) == pytest.approx(500, abs=5)
    assert pcm_ms(len(sound)) < first.of("turn_ended")[0]["reply_ms"]  # the encoder's rest is dropped
    assert main_hz(heard(second)) == pytest.approx(900, abs=5)
    assert pcm_ms(len(heard(second))) == pytest.approx(second.of("turn_ended")[0]["reply_ms"], abs=0.1)


async def test_minutes_in_one_message_do_not_hold_up_others(service: Service) -> None:
    flood = encode(noise(100_000), 8)  # 100 s in 100 kB
    async with talk_mp3(service) as talk, service.talk() as other:
        reply = await other.turn(utterance(600))
        await talk.websocket.send(flood)
        await talk.websocket.send(encode(utterance(700)))
        slower = await other.turn(utterance(800))
        for one in (reply, slower):
            assert one.of("turn_ended")[0]["outcome"] == "spoken"
        late_ms = [one.of("turn_ended")[0]["endpoint_ms"] for one in (reply, slower)]
        assert late_ms[1] < late_ms[0] + 1000
        last = await talk.reply()
        assert main_hz(heard(last)) == pytest.approx(700, abs=5)
        assert last.of("speech_started")[0]["audio_ms"] > 100_000


# What is wrong.


async def test_damage_is_an_error_event_and_the_turn_goes_on(service: Service) -> None:
    stream = encode(utterance(600))
    at = 20 * FRAME + 50
    async with talk_mp3(service) as talk:
        reply = await talk.turn(stream[:at] + b"damaged" + stream[at + 40 :])
        assert [(event["code"], event["turn_id"]) for event in reply.of("error")] == [("bad_audio", None)]
        assert reply.of("turn_ended")[0]["outcome"] == "spoken"
        assert main_hz(heard(reply)) == pytest.approx(600, abs=5)


async def test_a_stream_that_stops_in_mid_frame_is_an_error_event_and_a_new_one_is_taken(service: Service) -> None:
    stream = encode(utterance(600, after_ms=0))
    async with talk_mp3(service) as talk:
        for _ in range(2):  # as often as other mistakes end a session
            reply = await talk.turn(stream[: -2 * FRAME - 100])
            assert reply.of("turn_ended")[0]["outcome"] == "spoken"
            [error] = reply.of("error")
            assert error["code"] == "bad_audio"
            assert "stopped in the middle of a frame" in error["message"]


@pytest.mark.parametrize("begins", [b"RIFF\x24\xa0\x00\x00WAVEfmt ", b"OggS\x00\x02OpusHead"])
async def test_another_format_closes_with_1007_when_it_goes_on(service: Service, begins: bytes) -> None:
    async with talk_mp3(service) as talk:
        await talk.send(begins + utterance(600))
        code, reason, events = await talk.closed()
        assert code == 1007
        assert (reason or "").startswith("bad_audio: ")
        assert {event["code"] for event in events if event["type"] == "error"} == {"bad_audio"}


async def test_odd_messages_and_empty_ones_are_none(service: Service) -> None:
    async with talk_mp3(service) as talk:
        await talk.websocket.send(b"")
        reply = await talk.turn(encode(utterance(600)), block=333)
        assert reply.of("error") == []


async def test_a_service_without_mp3_refuses_it_with_400() -> None:
    with Service("--models=without_av") as running:
        with pytest.raises(InvalidStatus) as caught:
            async with connect(running.url(codec="mp3"), **CLIENT):
                pass
        assert caught.value.response.status_code == 400
        assert (
            caught.value.response.body == b"codec: this service has no MP3; `make install-mp3` on its machine adds it\n"
        )
        async with running.talk() as talk:
            assert (await talk.turn(utterance(600))).audio
