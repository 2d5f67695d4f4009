"""The torch path: a question with noise -> /ws -> tiny Whisper -> tiny Llama -> eSpeak NG, in six languages."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import numpy as np
import pytest
from service import Reply, Service, noise, rms, spoken

from speech_to_speech.audio.samples import Samples, to_float, to_pcm
from speech_to_speech.frames import AudioChunk, SpeakRequest
from speech_to_speech.languages import SIX
from speech_to_speech.tts.espeak import VOICES, ESpeak
from speech_to_speech.workers.model import ListJob

pytest.importorskip("transformers")

PHRASES = json.loads((Path(__file__).parents[2] / "tiny_models" / "phrases.json").read_text())
ROOM_NOISE = 0.004  # of full scale; speech peaks at 0.5
SPEED = 2.0  # times real time
AT_ONCE = 10


@dataclass(frozen=True)
class Phrase:
    language: str
    question: str
    answer: str


ALL = [Phrase(language, **phrase) for language in SIX for phrase in PHRASES[language]]


def asked(phrase: Phrase, seed: int, variant: str = "") -> bytes:
    """The question in a room with some noise."""
    chance = random.Random(seed)
    speech = spoken(phrase.question, VOICES[phrase.language] + variant, chance.choice((150, 165, 180)))
    whole = bytes(round(chance.uniform(200, 500) * 16) * 2) + speech + bytes(32 * 1400)
    samples = to_float(whole) * chance.uniform(0.3, 1.0)
    return to_pcm((samples + to_float(noise(len(samples) / 16, ROOM_NOISE, seed=seed))).astype(np.float32))


def answered(reply: Reply) -> str:
    return " ".join(event["text"] for event in reply.of("reply_text"))


def check(reply: Reply, phrase: Phrase) -> None:
    assert reply.of("error") == []
    assert reply.transcript == phrase.question
    assert [event["language"] for event in reply.of("speech_transcribed")] == [phrase.language]
    assert answered(reply).replace(" ", "") == phrase.answer.replace(" ", "")
    assert [event["outcome"] for event in reply.of("turn_ended")] == ["spoken"]
    assert rms(bytes(reply.audio)) > 0.01


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service("--language=auto", profile="tiny") as running:
        yield running


@pytest.mark.parametrize("language", SIX)
def test_each_language_is_heard_and_answered(service: Service, language: str) -> None:
    async def converse() -> None:
        async with service.talk() as talk:
            for seed, phrase in enumerate(phrase for phrase in ALL if phrase.language == language):
                check(await talk.turn(asked(phrase, seed), speed=SPEED), phrase)

    anyio.run(converse)


def test_the_language_may_change_from_turn_to_turn(service: Service) -> None:
    turns = [phrase for at in range(2) for phrase in (ALL[4 * number + at] for number in (0, 3, 1, 5, 2, 4))]

    async def converse() -> None:
        async with service.talk() as talk:
            for seed, phrase in enumerate(turns):
                check(await talk.turn(asked(phrase, seed), speed=SPEED), phrase)

    anyio.run(converse)


def test_ten_conversations_at_once_have_each_its_own_answer(service: Service) -> None:
    replies: dict[tuple[int, Phrase], Reply] = {}

    async def converse(number: int) -> None:
        async with service.talk() as talk:
            for phrase in (ALL[(5 * number + 7 * turn) % len(ALL)] for turn in range(3)):
                replies[number, phrase] = await talk.turn(asked(phrase, number), speed=1.0)

    async def converse_all() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(AT_ONCE):
                tasks.start_soon(converse, number)

    anyio.run(converse_all)
    assert len(replies) == 3 * AT_ONCE
    for (_, phrase), reply in replies.items():
        check(reply, phrase)


@pytest.fixture(scope="module")
def voice() -> ESpeak:
    model = ESpeak(ESpeak.Options())
    model.load()
    return model


def loudness(pcm: bytes, sample_rate_hz: int) -> Samples:
    """The course of the loudness, every 10 ms."""
    samples = to_float(pcm)
    step = sample_rate_hz // 100
    return np.sqrt(np.square(samples[: len(samples) // step * step]).reshape(-1, step).mean(axis=1))


def likeness(heard: Samples, expected: Samples) -> float:
    """The correlation of two courses of loudness, at the shift of up to 150 ms at which it is highest."""
    size = max(len(heard), len(expected)) + 30
    expected = np.pad(expected, (15, size - len(expected) - 15))
    shifted = [np.pad(heard, (at, size - len(heard) - at)) for at in range(31)]
    return max(float(np.corrcoef(course, expected)[0, 1]) for course in shifted)


def said(voice: ESpeak, text: str, language: str) -> bytes:
    job: ListJob[SpeakRequest, AudioChunk] = ListJob(SpeakRequest(text, language))
    voice.run([job])
    return b"".join(chunk.pcm for chunk in job.outputs)


@pytest.mark.parametrize("language", SIX)
def test_the_voice_is_that_of_the_language(service: Service, voice: ESpeak, language: str) -> None:
    """The reply sounds like its text in that language's voice, and not as in that which others fall back to."""
    phrase = next(phrase for phrase in ALL if phrase.language == language)

    async def converse() -> Reply:
        async with service.talk() as talk:
            return await talk.turn(asked(phrase, 0), speed=SPEED)

    reply = anyio.run(converse)
    pieces = [event["text"] for event in reply.of("reply_text")]
    heard = loudness(bytes(reply.audio), 16_000)
    like = {}
    for other in SIX:
        expected = loudness(b"".join(said(voice, piece, other) for piece in pieces), 22_050)
        like[other] = likeness(heard, expected)
    print({other: round(value, 2) for other, value in like.items()})
    assert like[language] > 0.9
    assert language == "en" or like["en"] < 0.8


def test_noise_and_silence_have_no_reply(service: Service) -> None:
    bursts = to_pcm(np.concatenate([to_float(noise(300, 0.3)), np.zeros(4800)] * 3).astype(np.float32))

    async def converse() -> Reply:
        async with service.talk() as talk:
            await talk.send(bursts + bytes(32 * 1500), speed=SPEED)
            return await talk.turn(asked(ALL[0], 1), speed=SPEED)

    reply = anyio.run(converse)
    # Whether the VAD takes the bursts for speech or not, no words are made of them.
    while reply.transcript == "":
        assert [event["outcome"] for event in reply.of("turn_ended")] == ["empty"]
        assert not reply.audio
        return
    check(reply, ALL[0])
