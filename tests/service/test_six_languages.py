"""The torch path: a question with noise -> /ws -> tiny Whisper -> tiny Llama -> eSpeak NG, in six languages."""

import itertools
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
SPEED = 4.0  # times real time
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


Said = tuple[Phrase, Reply]


async def converse_at_once(
    service: Service, conversations: list[list[tuple[int, Phrase]]], speed: float
) -> list[list[Said]]:
    """What was said in each of these conversations, turn by turn; a turn has the seed of its room and its phrase."""
    replies: list[list[Said]] = [[] for _ in conversations]

    async def converse(number: int) -> None:
        async with service.talk() as talk:
            for seed, phrase in conversations[number]:
                replies[number].append((phrase, await talk.turn(asked(phrase, seed), speed=speed)))

    async with anyio.create_task_group() as tasks:
        for number in range(len(conversations)):
            tasks.start_soon(converse, number)
    return replies


@pytest.fixture(scope="module")
def conversations(service: Service) -> list[list[Said]]:
    """Eight at once: one in each language, with all its phrases, and two that go from language to language."""
    steady = [[phrase for phrase in ALL if phrase.language == language] for language in SIX]
    changing = [[ALL[4 * number + at] for number in (0, 3, 1, 5, 2, 4)] for at in range(2)]
    turns = [list(enumerate(phrases)) for phrases in (*steady, *changing)]
    return anyio.run(converse_at_once, service, turns, SPEED)


@pytest.mark.parametrize("language", SIX)
def test_each_language_is_heard_and_answered(conversations: list[list[Said]], language: str) -> None:
    turns = conversations[SIX.index(language)]
    assert [phrase for phrase, _ in turns] == [phrase for phrase in ALL if phrase.language == language]
    for phrase, reply in turns:
        check(reply, phrase)


def test_the_language_may_change_from_turn_to_turn(conversations: list[list[Said]]) -> None:
    for turns in conversations[len(SIX) :]:
        assert len({phrase.language for phrase, _ in turns}) == len(turns) == len(SIX)
        for phrase, reply in turns:
            check(reply, phrase)


@pytest.mark.long  # the eight of `conversations` have each its own answer too
def test_ten_conversations_at_once_have_each_its_own_answer(service: Service) -> None:
    turns = [[(number, ALL[(5 * number + 7 * turn) % len(ALL)]) for turn in range(3)] for number in range(AT_ONCE)]
    replies = anyio.run(converse_at_once, service, turns, 1.0)
    assert [len(turns) for turns in replies] == [3] * AT_ONCE
    for phrase, reply in itertools.chain(*replies):
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
def test_the_voice_is_that_of_the_language(conversations: list[list[Said]], voice: ESpeak, language: str) -> None:
    """The reply sounds like its text in that language's voice, and not as in that which others fall back to."""
    _, reply = conversations[SIX.index(language)][0]
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
