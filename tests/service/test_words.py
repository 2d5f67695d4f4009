"""The whole service with its embedded models: spoken sentences in, their words and spoken replies out."""

import random

import anyio
import jiwer
import numpy as np
import pytest
from service import Reply, Service, noise, rms, spoken

from speech_to_speech.audio.samples import to_float, to_pcm
from speech_to_speech.frames import SpeechRequest, Transcript
from speech_to_speech.stt.pocketsphinx import PocketSphinx
from speech_to_speech.workers.model import ListJob

pytestmark = pytest.mark.alone

WORST_WORD_ERROR_RATE = 0.3
ROOM_NOISE = 0.003  # of full scale; speech peaks at 0.5
SPEED = 3.0  # times real time
CONNECTIONS = 4
VOICES = ("en-us", "en-us+m3", "en-us+m7", "en-us+f2")
RATES = (150, 165)

SENTENCES = (
    "i would like to go home now",
    "what time is it in new york",
    "please tell me a story about your family",
    "the weather is very nice today",
    "my mother lives in a small house near the river",
    "can you help me with my homework",
    "we are going to the market this afternoon",
    "the children are playing in the garden",
    "he has been working there for three years",
    "do you know where the station is",
    "i have never been to california",
    "she wants to become a doctor",
    "there are seven people in the room",
    "how much does this book cost",
    "i think that we should wait until tomorrow",
    "my brother bought a new car last week",
    "the government has announced a new program",
    "could you open the window please",
    "it was a long and difficult journey",
    "i am looking forward to the summer",
    "they came back from the city on monday",
    "water is the most important thing in the world",
    "nobody knows what will happen next year",
    "thank you very much for your help",
)


def in_a_room(speech: bytes, chance: random.Random) -> bytes:
    """Speech between two pauses, in a room that is not quite silent."""
    before_ms, after_ms = chance.uniform(200, 600), chance.uniform(800, 1200)
    whole = bytes(round(before_ms * 16) * 2) + speech + bytes(round(after_ms * 16) * 2)
    samples = to_float(whole)
    room = to_float(noise(len(samples) / 16, ROOM_NOISE, seed=chance.randrange(1 << 30)))
    return to_pcm((samples + room).astype(np.float32))


@pytest.fixture(scope="module")
def replies() -> dict[str, Reply]:
    """The reply to each sentence, over several connections at once."""
    heard: dict[str, Reply] = {}

    async def converse(service: Service, number: int) -> None:
        chance = random.Random(number)
        async with service.talk() as talk:
            for sentence in SENTENCES[number::CONNECTIONS]:
                speech = spoken(sentence, VOICES[number % len(VOICES)], chance.choice(RATES))
                heard[sentence] = await talk.turn(in_a_room(speech, chance), speed=SPEED)

    async def converse_all(service: Service) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(CONNECTIONS):
                tasks.start_soon(converse, service, number)

    with Service(profile="embedded") as service:
        anyio.run(converse_all, service)
    return heard


def test_the_words_are_understood(replies: dict[str, Reply]) -> None:
    references = list(SENTENCES)
    hypotheses = [replies[sentence].transcript for sentence in references]
    rate = jiwer.wer(references, hypotheses)
    print(f"word error rate {rate:.3f} over {len(references)} sentences")
    print("\n".join(f"{said} -> {heard}" for said, heard in zip(references, hypotheses, strict=True) if said != heard))
    assert rate <= WORST_WORD_ERROR_RATE


def test_every_sentence_has_one_spoken_reply(replies: dict[str, Reply]) -> None:
    assert len(replies) == len(SENTENCES)
    for reply in replies.values():
        assert reply.of("error") == []
        assert [ended["outcome"] for ended in reply.of("turn_ended")] == ["spoken"]
        assert reply.of("reply_text")
        assert len(reply.audio) > 0.3 * 32_000
        assert rms(bytes(reply.audio)) > 0.01


def test_an_utterance_is_heard_in_one_piece(replies: dict[str, Reply]) -> None:
    """Its end is where the speaker's is: neither a pause inside a sentence nor the room's noise moved it."""
    for sentence, reply in replies.items():
        assert len(reply.of("speech_started")) == 1, sentence
        assert len(reply.of("speech_stopped")) == 1


def test_a_transcript_does_not_depend_on_who_spoke_before() -> None:
    """The decoder is shared by all conversations; what it learns of one speaker is not for the next."""
    model = PocketSphinx(PocketSphinx.Options())
    model.load()
    model.warm_up()

    def hear(pcm: bytes) -> str:
        job: ListJob[SpeechRequest, Transcript] = ListJob(SpeechRequest(pcm, "en"))
        model.run([job])
        return job.outputs[0].text

    chance = random.Random(0)
    utterances = [in_a_room(spoken(SENTENCES[number], VOICES[number]), chance) for number in (1, 3)]
    alone = [hear(pcm) for pcm in utterances]
    for other in (to_pcm(0.1 * to_float(utterances[0])), noise(1000, 0.2)):
        hear(other)
        assert [hear(pcm) for pcm in reversed(utterances)] == alone[::-1]
