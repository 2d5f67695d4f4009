"""Many conversations in virtual time, of whatever may happen in one, and what holds in all of them.

Hypothesis draws a setting and a schedule of episodes. What is said has a level of its own, so that a transcript tells
which speech it is of; each answer has words of its own, each of which sounds for 100 ms.
"""

import asyncio
import contextlib
import dataclasses
import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import anyio
import numpy as np
import pytest
import virtual
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from virtual import DONE, WORD_MS, Asked, Service, Talk

from speech_to_speech.config.settings import load_settings
from speech_to_speech.conversation import events
from speech_to_speech.conversation.chat import reply_id
from speech_to_speech.errors import ItemUnknown
from speech_to_speech.frames import AudioChunk, Transcript, WordStart, pcm_ms
from speech_to_speech.service.models import session_options
from speech_to_speech.vad.base import WINDOW_BYTES, WINDOW_MS
from speech_to_speech.workers.model import Job

EXAMPLES, MANY_EXAMPLES = 150, 1000
LETTERS = str.maketrans("0123456789", "abcdefghij")  # of replies: digits would be spoken as words
DIGITS = str.maketrans("abcdefghij", "0123456789")
BUFFER_MS = 100.0  # of the client, at most; one block more may be on its way
TIMEOUT_S = 3
HANG_MS = 8000.0
LONGEST_TURN_MS = 60_000.0
LONG_ENOUGH_MS = 512.0  # speech that is an utterance in any case
BARGE_IN_MS = 480.0  # of speech, from where on it may interrupt without words
ROUNDING_MS = 10.0
_OPTIONS = session_options(load_settings(virtual.FLAGS, {}))
assert _OPTIONS.turn_detection is not None
TURN_DETECTION = _OPTIONS.turn_detection

# What may happen.


@dataclass(frozen=True)
class Say:
    """words: they want an answer; yeah: they want none, over a reply; cough: there are no words."""

    kind: str
    ms: float


@dataclass(frozen=True)
class Pause:
    ms: float


@dataclass(frozen=True)
class Listen:
    """Wait for a reply, but not for ever, and hear so much of it."""

    ms: float


@dataclass(frozen=True)
class Report:
    """Tell the position of the reply that plays, or of the last one; or of a turn that there never was."""

    known: bool = True


@dataclass(frozen=True)
class Fault:
    """The next call of a stage raises, hangs or gives no more, after so many outputs."""

    stage: str
    how: str
    outputs: int


@dataclass(frozen=True)
class Slow:
    """From now on each step of a stage takes so long."""

    stage: str
    ms: float


@dataclass(frozen=True)
class Leave:
    """The connection drops, or the service ends the session."""

    drops: bool


@dataclass(frozen=True)
class Type:
    """Text instead of speech; what plays is cut for it."""


@dataclass(frozen=True)
class Cancel:
    """The client ends the reply that is under way."""


@dataclass(frozen=True)
class Commit:
    """The client says that the utterance is complete."""


@dataclass(frozen=True)
class Clear:
    """The client takes back what is being said."""


@dataclass(frozen=True)
class Truncate:
    """Of a reply that is over, the last or the one before, so much was heard."""

    back: int
    ms: float


@dataclass(frozen=True)
class Configure:
    """Go on by other options; `held`: push to talk, else by turn detection with that speculation."""

    held: bool
    speculation: str = "full"


Step = Say | Pause | Listen | Report | Fault | Slow | Leave | Type | Cancel | Commit | Clear | Truncate | Configure


@dataclass(frozen=True)
class Setting:
    full_duplex: bool = True
    speculation: str = "full"
    detector: float | None = None
    """What a turn detector says each time; None: there is none."""
    send_ms: float | None = None
    delay_ms: float = 0.0
    """By so much later than it gets it the client plays."""
    eager: bool = False
    sentences: tuple[int, ...] = (4, 6)
    """The words of each sentence of an answer."""

    @property
    def flags(self) -> tuple[str, ...]:
        timeouts = [f"--{stage}_timeout_s={TIMEOUT_S}" for stage in ("vad", "stt", "llm", "tts")]
        turn = "none" if self.detector is None else "virtual"
        return (f"--speculation={self.speculation}", f"--turn={turn}", *timeouts)


SPEECH_MS = st.sampled_from([32.0, 64.0, 128.0, 256.0, 320.0, 416.0, 512.0, 640.0, 1120.0])
SILENCE_MS = st.sampled_from([64.0, 128.0, 160.0, 224.0, 288.0, 288.0, 416.0])
HEARD_MS = st.sampled_from([0.0, 50.0, 250.0, 480.0, 900.0, 2500.0])
KIND = st.sampled_from(["words", "words", "yeah", "cough"])
STAGE = st.sampled_from(["vad", "stt", "llm", "tts"])

fault = st.builds(Fault, STAGE, st.sampled_from(["raises", "hangs", "gives nothing"]), st.integers(0, 2))
utterance = st.tuples(st.builds(Say, st.just("words"), st.sampled_from([288.0, 640.0])), st.just(Pause(288.0)))
over_it = st.tuples(st.builds(Say, KIND, SPEECH_MS), st.builds(Pause, SILENCE_MS))
reported = st.tuples(st.builds(Say, KIND, SPEECH_MS), st.just(Pause(288.0)), st.just(Report()))
long_words, more_words = Say("words", 1120.0), Say("words", 288.0)
cut_short = st.just((long_words, Report(), more_words, Pause(288.0)))
over_a_reply = st.tuples(utterance, st.builds(Listen, HEARD_MS), over_it | reported | cut_short).map(
    lambda parts: (*parts[0], parts[1], *parts[2])
)
crowded = st.tuples(
    st.builds(Slow, st.just("stt"), st.sampled_from([300.0, 700.0, 1500.0])),
    st.builds(Listen, HEARD_MS),
    st.builds(Say, st.just("words"), st.just(288.0)),
    st.builds(Pause, st.sampled_from([288.0, 576.0, 1056.0])),
    st.builds(Say, KIND, st.sampled_from([128.0, 288.0])),
    st.just(Pause(288.0)),
)
configure = st.builds(Configure, st.just(False), st.sampled_from(["full", "stt", "off"]))
asked = st.one_of(
    st.just((Type(),)),
    st.tuples(utterance, st.builds(Listen, HEARD_MS), st.just(Type())).map(lambda parts: (*parts[0], *parts[1:])),
    st.tuples(utterance, st.builds(Pause, SILENCE_MS), st.just(Cancel())).map(lambda parts: (*parts[0], *parts[1:])),
    st.tuples(utterance, st.builds(Listen, HEARD_MS), st.just(Cancel())).map(lambda parts: (*parts[0], *parts[1:])),
    st.tuples(st.just(Type()), st.builds(Listen, HEARD_MS), st.just(Cancel())),
    st.tuples(st.builds(Say, KIND, SPEECH_MS), st.sampled_from([Commit(), Clear(), Cancel(), Type()])),
    st.tuples(st.just(Configure(held=True)), st.builds(Say, KIND, SPEECH_MS), st.just(Commit()), configure),
    st.tuples(st.just(Configure(held=True)), st.builds(Say, KIND, SPEECH_MS), configure),
    st.tuples(configure, st.builds(Listen, HEARD_MS), configure),
    st.builds(Truncate, st.integers(0, 1), HEARD_MS).map(lambda step: (step,)),
)
episode = st.one_of(
    utterance,
    utterance,
    asked,
    asked,
    st.tuples(utterance, crowded).map(lambda parts: (*parts[0], *parts[1])),
    st.tuples(st.builds(Say, KIND, SPEECH_MS), st.builds(Pause, SILENCE_MS)),
    over_a_reply,
    over_a_reply,
    st.tuples(st.builds(Listen, HEARD_MS), st.builds(Report, st.booleans())),
    st.tuples(fault, utterance).map(lambda pair: (pair[0], *pair[1])),
    st.tuples(st.builds(Slow, STAGE.filter("vad".__ne__), st.sampled_from([0.0, 20.0, 90.0, 300.0, 700.0, 1500.0]))),
)
leaving = st.one_of(
    st.just(()),
    st.just(()),
    st.just(()),
    st.tuples(st.builds(Listen, HEARD_MS), st.builds(Leave, st.booleans())),
    st.tuples(st.builds(Leave, st.booleans())),
)
schedules = st.tuples(st.lists(episode, min_size=1, max_size=4), leaving).map(
    lambda parts: tuple(itertools.chain(*parts[0], parts[1]))
)
setting_strategy = st.builds(
    Setting,
    full_duplex=st.sampled_from([True, True, False]),
    speculation=st.sampled_from(["full", "stt", "off"]),
    detector=st.sampled_from([None, None, 0.0, 0.9]),
    send_ms=st.sampled_from([None, 0.0, 4.0, 20.0]),
    delay_ms=st.sampled_from([0.0, 100.0]),
    eager=st.booleans(),
    sentences=st.sampled_from([(1,), (4, 6), (9,), (3, 3, 3)]),
)


# How it happens.


class Models:
    """Scripted models, with what was drawn for them."""

    WORDS: ClassVar[dict[str, int]] = {"words": 1000, "yeah": 5000, "cough": 9000, "never": 13_000}
    """The lowest level of each kind of speech."""

    def __init__(self, service: Service, setting: Setting) -> None:
        self.script = service.script
        self.setting = setting
        self.step_ms = dict.fromkeys(("stt", "llm", "tts"), 0.0)
        self.faults: dict[str, deque[Fault]] = {stage: deque() for stage in ("vad", "stt", "llm", "tts")}
        self.faulty = False
        self.slow = False
        """Words may sound before their piece is made to its end."""
        self.emitted: list[str] = []
        for stage, outputs in (("vad", self._judge), ("stt", self._hear), ("llm", self._answer), ("tts", self._speak)):
            setattr(self.script, stage, self._behaviour(stage, outputs))
        self.script.turn = lambda job: job.emit(setting.detector)

    def _behaviour(self, stage: str, outputs: Callable[[Any], Iterator[Any]]) -> virtual.Behaviour:
        def run(job: Job[Any, Any]) -> None:
            fault = self.faults[stage].popleft() if self.faults[stage] else None
            for number, output in enumerate(outputs(job.request)):
                if ms := self.step_ms.get(stage):
                    virtual.takes(ms)
                if fault is not None and number == fault.outputs:
                    self.faulty = True
                    self._fail(fault)
                    return
                if job.cancelled:
                    return
                job.emit(output)

        return run

    @staticmethod
    def _fail(fault: Fault) -> None:
        if fault.how == "raises" or (fault.stage == "tts" and fault.outputs):  # half a text would count as the whole
            raise virtual.VirtualError("as scripted")
        if fault.how == "hangs":
            virtual.takes(HANG_MS)

    def _judge(self, request: Any) -> Iterator[Any]:
        yield virtual.loudness(request)

    def _hear(self, request: Any) -> Iterator[Transcript]:
        text = " ".join(word for word in map(self.word, levels_of(request.pcm)) if word)
        self.emitted.append(text)
        yield Transcript(text, request.language)

    def word(self, level: int) -> str:
        """What is said at this level."""
        kind = max((kind for kind, lowest in self.WORDS.items() if lowest <= level), key=self.WORDS.__getitem__)
        return {"words": f"w{level}", "yeah": "yeah", "cough": "", "never": f"never{level}"}[kind]

    def _answer(self, request: Any) -> Iterator[str]:
        """Word by word; all of them have the number of the request."""
        number = len(self.script.asked["llm"]) - 1
        for sentence, length in enumerate(self.setting.sentences):
            for word in range(length):
                yield f"R{number}s{sentence}w{word}".translate(LETTERS) + (". " if word == length - 1 else " ")

    def _speak(self, request: Any) -> Iterator[AudioChunk]:
        at = 0
        for number, word in enumerate(request.text.split()):
            yield AudioChunk(virtual.sound(WORD_MS), 16_000, (WordStart(at, number * WORD_MS),))
            at += len(word) + 1


def levels_of(pcm: bytes) -> list[int]:
    """The levels that `pcm` consists of, silence left out, in their order."""
    levels = np.frombuffer(pcm, "<i2")[::256].tolist()
    return [level for level in dict.fromkeys(levels) if level]


@dataclass
class Player:
    """The loudspeaker of a client that plays each block as soon as the one before has ended, and holds when told so.

    `position` is how much of the reply has sounded then.
    """

    blocks: list[tuple[float, float]] = field(default_factory=list)
    """When each came, and how long it is, in ms."""
    pauses: list[tuple[float, float]] = field(default_factory=list)

    def position(self, at_ms: float) -> float:
        played = 0.0
        ends = 0.0
        for came, length in self.blocks:
            if came > at_ms:
                break
            begins = max(came, ends)
            ends = self._without_pauses(begins, length)
            played += min(length, self._sounding(begins, min(at_ms, ends))) if begins < at_ms else 0.0
        return played

    def _sounding(self, begin: float, end: float) -> float:
        held = sum(max(0.0, min(end, to) - max(begin, since)) for since, to in self.pauses)
        return max(0.0, end - begin - held)

    def _without_pauses(self, begin: float, length: float) -> float:
        end = begin + length
        for since, to in self.pauses:
            if since < end and to > begin:
                end += to - max(since, begin)
        return end


@dataclass
class Turn:
    """What the client knows of a turn."""

    turn_id: str
    begun_ms: float
    texts: list[str] = field(default_factory=list)
    player: Player = field(default_factory=Player)
    transcript: str | None = None
    error: bool = False
    ended: events.TurnEnded | None = None
    ended_ms: float = 0.0
    done_ms: float | None = None
    interrupted: float | None = None
    typed: bool = False

    @property
    def words(self) -> list[str]:
        return " ".join(self.texts).split()


@dataclass
class Said:
    """Some speech, from when to when, and the word for it."""

    kind: str
    ms: float
    word: str
    begun_ms: float
    ended_ms: float = 0.0


class Course:
    """One conversation as it went."""

    def __init__(self, talk: Talk, setting: Setting) -> None:
        self.talk = talk
        self.setting = setting
        self.models = Models(talk.service, setting)
        self.said: list[Said] = []
        self.lingering: list[Asked] = []
        self.tasks = 0
        self.reports: list[tuple[float, str, float]] = []
        self.truncated: list[tuple[float, str, float]] = []
        """When which turn's reply was truncated, and where."""
        self.committed = False
        self.cut: set[str] = set()
        """The turns whose reply the client itself has ended."""
        self.taken_back: set[str] = set()
        """Words that the client has taken back, or whose turn it has cancelled before they were heard."""
        self.left = False
        self._silence_ms = 0.0

    @property
    def log(self) -> list[tuple[float, Any]]:
        return self.talk.client.log

    @property
    def in_turn(self) -> bool:
        for _, item in reversed(self.log):
            if item == DONE or isinstance(item, events.TurnEnded):
                return False
            if isinstance(item, events.SpeechStopped | events.TurnRequested):
                return True
        return False

    @property
    def sounding(self) -> bool:
        return self.in_turn and isinstance(self.log[-1][1], bytes | events.ReplyPaused)

    @property
    def open(self) -> bool:
        """Something is still to be told: the rest of an utterance, or of a turn."""
        begun = {event.turn_id for event in self.talk.client.of(events.SpeechStarted)}
        settled = {event.turn_id for event in self.talk.client.of(events.SpeechDiscarded)}
        settled |= {event.record.turn_id for event in self.talk.client.of(events.TurnEnded)}
        settled |= {
            event.turn_id for event in self.talk.client.of(events.Error) if event.stage == "vad" and event.turn_id
        }
        return self.in_turn or bool(begun - settled)

    async def take(self, step: Step) -> None:
        match step:
            case Say(kind, ms):
                number = len(self.said)
                said = Said(kind, ms, self.models.word(Models.WORDS[kind] + number), self.talk.ms)
                self.said.append(said)
                await self._send(ms, kind, number)
                said.ended_ms = self.talk.ms
                self._silence_ms = 0.0
            case Pause(ms):
                await self._send(ms)
            case Listen(ms):
                await self._send(max(0.0, 288.0 - self._silence_ms))
                with anyio.move_on_after(4):
                    while not self.sounding and not self.talk.over.is_set():
                        await self.talk.client.more()
                await anyio.sleep(ms / 1000)
            case Report(known):
                await self._report(known)
            case Fault():
                self.models.faults[step.stage].append(step)
            case Slow(stage, ms):
                self.models.step_ms[stage] = ms
                self.models.slow |= stage == "tts"
            case Type():
                await self._type()
            case Cancel():
                await self._cancel()
            case Commit():
                self.committed = True
                if self.talk.session.options.turn_detection is None:
                    self.cut |= {turn.turn_id for turn in turns_of(self.log) if turn.ended is None}
                with self._ending():
                    await self.talk.session.commit()
            case Clear():
                self.taken_back |= {said.word for said in self.said}
                self.talk.session.clear()
            case Truncate(back, ms):
                self._truncate(back, ms)
            case Configure(held, speculation):
                self._configure(held, speculation)
            case Leave(drops):
                self.left = True
                if drops:
                    self.talk.client.gone = True
                    await anyio.sleep(1)
                self.talk.session.end()

    async def _send(self, ms: float, kind: str = "", number: int = 0) -> None:
        for _ in range(round(ms / WINDOW_MS)):
            await anyio.sleep(WINDOW_MS / 1000)
            pcm = bytes(WINDOW_BYTES)
            if kind:
                unheard = self.in_turn and not self.setting.full_duplex
                pcm = virtual.sound(WINDOW_MS, Models.WORDS["never" if unheard else kind] + number)
            else:
                self._silence_ms += WINDOW_MS
            await self.talk.session.hear(pcm)

    async def _type(self) -> None:
        text = f"t{20_000 + len(self.said)}"
        self.said.append(Said("typed", 0.0, text, self.talk.ms, self.talk.ms))
        self.models.emitted.append(text)
        if not self.setting.full_duplex:
            self.taken_back |= {said.word for said in self.said}  # what was being said is discarded
        with self._ending():
            await self.talk.session.respond(text, interrupt=True)

    async def _cancel(self) -> None:
        with self._ending():
            await self.talk.session.cancel()

    @contextlib.contextmanager
    def _ending(self) -> Iterator[None]:
        """Replies that end within have been ended by the client."""
        before = {turn.turn_id for turn in turns_of(self.log) if turn.interrupted is not None}
        yield
        cut = [turn for turn in turns_of(self.log) if turn.interrupted is not None and turn.turn_id not in before]
        self.cut |= {turn.turn_id for turn in cut}
        if any(turn.transcript is None for turn in cut):
            # What was said is heard with the next utterance, if there is one.
            self.taken_back |= {said.word for said in self.said}

    def _truncate(self, back: int, ms: float) -> None:
        ended = [turn for turn in turns_of(self.log) if turn.ended is not None]
        if len(ended) > back:
            turn = ended[-1 - back]
            ms = min(ms, sum(length for _, length in turn.player.blocks))
            with contextlib.suppress(ItemUnknown):
                self.talk.session.truncate(reply_id(turn.turn_id), ms)
                self.truncated.append((self.talk.ms, turn.turn_id, ms))

    def _configure(self, held: bool, speculation: str) -> None:
        options = self.talk.session.options
        detection = dataclasses.replace(TURN_DETECTION, speculation=speculation)
        self.talk.session.configure(dataclasses.replace(options, turn_detection=None if held else detection))

    async def _report(self, known: bool) -> None:
        turns = turns_of(self.log)
        if not known:
            await self.talk.report("nobody", 500.0)
        elif turns and self.setting.full_duplex:
            turn = turns[-1]
            ended = [
                ms
                for ms, item in self.log
                if isinstance(item, events.ReplyInterrupted) and item.turn_id == turn.turn_id
            ]
            at = (ended[0] if ended else self.talk.ms) - self.setting.delay_ms
            played_ms = turn.player.position(at)
            self.reports.append((self.talk.ms, turn.turn_id, played_ms))
            await self.talk.report(turn.turn_id, played_ms)

    async def finish(self) -> None:
        """Say no more, and wait until nothing more can come."""
        if not self.left:
            await anyio.sleep(1)  # the VAD may be behind
            silences = itertools.repeat(None, round(1152.0 / WINDOW_MS))
            while self.open and next(silences, self) is None:
                await self._send(WINDOW_MS)
            with anyio.move_on_after(LONGEST_TURN_MS / 1000):
                while self.open:
                    await self.talk.client.more()
        await anyio.sleep(0.2)  # until what is on its way is sent
        self.tasks = len(asyncio.all_tasks())
        self.lingering = [
            asked for all_asked in self.models.script.asked.values() for asked in all_asked if not asked.over
        ]
        await anyio.sleep(3 * HANG_MS / 1000)


def turns_of(log: list[tuple[float, Any]]) -> list[Turn]:
    """The turns as a client sees them; raises if there is no sense in what it is sent."""
    turns: dict[str, Turn] = {}
    now: Turn | None = None
    for ms, item in log:
        match item:
            case events.SpeechStopped(turn_id, _):
                assert now is None, f"at {ms} {turn_id} begins within {now}"
                assert turn_id not in turns, f"{turn_id} begins twice"
                now = turns[turn_id] = Turn(turn_id, ms)
            case events.TurnRequested(turn_id, text):
                assert now is None, f"at {ms} {turn_id} begins within {now}"
                assert turn_id not in turns, f"{turn_id} begins twice"
                now = turns[turn_id] = Turn(turn_id, ms, transcript=text, typed=True)
            case bytes():
                assert now is not None, f"at {ms} audio of no turn"
                assert now.ended is None, f"at {ms} audio of {now.turn_id} after its end"
                now.player.blocks.append((ms, pcm_ms(len(item))))
            case events.SpeechTranscribed(turn_id, text, _, True):
                assert now is not None, f"at {ms} the words of {turn_id}, which is no turn"
                assert (turn_id, now.transcript) == (now.turn_id, None), f"at {ms} the words of {turn_id} in {now}"
                now.transcript = text
            case events.ReplyText(turn_id, text):
                assert now is not None, f"at {ms} a text of {turn_id}, which is no turn"
                assert (turn_id, now.ended) == (now.turn_id, None), f"at {ms} a text of {turn_id} in {now}"
                now.texts.append(text)
            case events.ReplyPaused(turn_id, _):
                assert now is not None, f"at {ms} a pause of {turn_id}, which is no turn"
                assert turn_id == now.turn_id, f"at {ms} a pause of {turn_id} in {now}"
                assert all(to < float("inf") for _, to in now.player.pauses), f"at {ms} {turn_id} is paused twice"
                now.player.pauses.append((ms, float("inf")))
            case events.ReplyResumed(turn_id):
                assert now is not None, f"at {ms} {turn_id}, which is no turn, resumes"
                assert turn_id == now.turn_id, f"at {ms} {turn_id} resumes in {now}"
                assert now.player.pauses, f"at {ms} {turn_id} resumes, but was not paused"
                since, to = now.player.pauses.pop()
                assert to == float("inf"), f"at {ms} {turn_id} resumes, but was not paused"
                now.player.pauses.append((since, ms))
            case events.ReplyInterrupted(turn_id, played_ms):
                assert now is not None, f"at {ms} {turn_id}, which is no turn, is interrupted"
                assert (turn_id, now.interrupted) == (now.turn_id, None), f"at {ms} {turn_id} is interrupted in {now}"
                now.interrupted = played_ms
            case events.Error(_, _, _, turn_id, _) if turn_id in turns:
                turns[turn_id].error = True
            case events.TurnEnded(record):
                assert now is not None, f"at {ms} {record.turn_id}, which is no turn, ends"
                assert (record.turn_id, now.ended) == (now.turn_id, None), f"at {ms} {record.turn_id} ends in {now}"
                now.ended, now.ended_ms = item, ms
            case _ if item == DONE:
                assert now is not None, f"at {ms} DONE of no turn"
                assert now.ended is not None, f"at {ms} DONE of {now.turn_id}, which has not ended"
                now.done_ms, now = ms, None
    return list(turns.values())


# What holds.


def one_turn_at_a_time_each_with_one_end(course: Course) -> None:
    """`turns_of` raises at the first message out of place; here: that all there are come to their end."""
    unfinished = [turn.turn_id for turn in turns_of(course.log) if turn.done_ms is None]
    assert not unfinished or course.left, f"no DONE for {unfinished}"


def every_turn_ends_in_time(course: Course) -> None:
    slow = [turn for turn in turns_of(course.log) if (turn.done_ms or 0.0) - turn.begun_ms > LONGEST_TURN_MS]
    assert not slow, f"too long: {slow}"
    assert course.left or not course.open, f"an utterance was left open: {course.talk.client.told}"
    assert course.left or not course.talk.session.taking_turn, "it still takes a turn"


def an_utterance_is_a_turn_or_is_none(course: Course) -> None:
    begun = [event.turn_id for event in course.talk.client.of(events.SpeechStarted)]
    discarded = [event.turn_id for event in course.talk.client.of(events.SpeechDiscarded)]
    taken = [turn.turn_id for turn in turns_of(course.log) if not turn.typed]
    assert len({*begun}) == len(begun), f"{begun} begin"
    assert len({*discarded, *taken}) == len(discarded) + len(taken), f"{discarded} are no turns, {taken} are"
    assert {*discarded, *taken} <= {*begun}, f"{begun} begin, {discarded} are no turns, {taken} are"
    assert taken == sorted(taken, key=begun.index), f"{begun} begin, {taken} are the turns"


def words_are_heard_once(course: Course) -> None:
    said = [said.word for said in course.said if said.kind == "words"]
    heard = " ".join(turn.transcript or "" for turn in turns_of(course.log) if not turn.typed).split()
    heard = [word for word in heard if word != "yeah"]
    assert len({*heard}) == len(heard), f"heard twice: {heard}"
    assert heard == [word for word in said if word in heard], f"said {said}, heard {heard}"


def nothing_said_is_lost(course: Course) -> None:
    """In full duplex, when nothing fails."""
    if not course.setting.full_duplex or course.left or course.models.faulty or course.talk.client.of(events.Error):
        return
    heard = " ".join(turn.transcript or "" for turn in turns_of(course.log)).split()
    for said in course.said:
        if said.kind == "words" and said.ms >= LONG_ENOUGH_MS and said.word not in course.taken_back:
            assert said.word in heard, f"{said} was lost; heard {heard}"


def began(course: Course, turn_id: str) -> float:
    """When its utterance began, in ms."""
    [begun] = [ms for ms, event in course.log if isinstance(event, events.SpeechStarted) and event.turn_id == turn_id]
    return begun


def asked_since(course: Course, question: str) -> float:
    """When the last of its words was begun, in ms; the model was asked later than that."""
    words = question.split()
    return max((said.begun_ms for said in course.said if said.kind == "words" and said.word in words), default=0.0)


def only_words_or_long_speech_interrupt(course: Course) -> None:
    for turn in turns_of(course.log):
        if turn.interrupted is not None and turn.turn_id not in course.cut and not turn.typed:
            own_ms = began(course, turn.turn_id)
            if course.committed:  # then a turn may be over before the client has been told of its beginning
                own_ms -= 8 * (course.setting.send_ms or 0.0)
            over_it = [said for said in course.said if own_ms <= said.begun_ms <= turn.ended_ms]
            long = sum(said.ms for said in over_it) >= BARGE_IN_MS
            assert long or any(said.kind == "words" for said in over_it), f"{over_it} interrupted {turn}"


def a_turn_is_not_overheard(course: Course) -> None:
    """Half duplex: nothing that is said between the endpoint and the end of the turn is ever transcribed."""
    heard = {level for asked in course.models.script.asked["stt"] for level in levels_of(asked.request.pcm)}
    assert not {level for level in heard if level >= Models.WORDS["never"]}, f"at {course.log}"


def an_answer_is_to_its_question(course: Course) -> None:
    for turn in turns_of(course.log):
        numbers = {int(word.translate(DIGITS)[1:].split("s")[0]) for word in turn.words}
        assert len(numbers) <= 1, f"{turn} is of several answers"
        for number in numbers:
            asked: Asked = course.models.script.asked["llm"][number]
            assert turn.transcript
            assert asked.request.messages[-1].content.endswith(turn.transcript), f"{turn} answers {asked.request}"


def done_waits_for_the_loudspeaker(course: Course) -> None:
    for turn in turns_of(course.log):
        if turn.done_ms is not None and turn.interrupted is None and not course.reports:
            sent = sum(length for _, length in turn.player.blocks)
            played = turn.player.position(turn.done_ms - course.setting.delay_ms)
            assert played >= sent - 1e-3, f"DONE of {turn} when {played} of {sent} ms were played"


def an_interruption_tells_what_was_played(course: Course) -> None:
    """What counts as heard is what the client can have played, and no less than that but for its buffer."""
    for turn in turns_of(course.log):
        if turn.interrupted is None:
            continue
        played = turn.player.position(turn.ended_ms)
        lost = BUFFER_MS + WINDOW_MS + (course.setting.send_ms or 0.0) * 4 + 1e-3
        assert played - lost <= turn.interrupted <= played + lost - BUFFER_MS - WINDOW_MS, (
            f"{turn} when {played} ms were played"
        )


def heard_words(turn: Turn, played_ms: float, *, made: bool) -> set[str]:
    """The words of a reply that ended by then; its last one may not count if not all was `made`."""
    words = turn.words
    ends = [sum(len(text.split()) for text in turn.texts[: number + 1]) for number in range(len(turn.texts))]
    heard = sum((at + 1) * WORD_MS <= played_ms + (ROUNDING_MS if at + 1 in ends else 0.0) for at in range(len(words)))
    possible = {heard} if made else {heard, max(heard - 1, 0)}
    return {" ".join(words[:count]) for count in possible}


def exchanges(course: Course, ended: list[Turn], known_ms: float, asked_ms: float) -> Iterator[list[tuple[str, str]]]:
    """The histories that there can be when these turns have ended: their questions, and what was heard of the answers.

    Reports up to `known_ms` count, those up to `asked_ms` may.
    """
    possible: list[list[tuple[str, str]]] = []
    for turn in ended:
        assert turn.ended is not None
        record = turn.ended.record
        if not turn.transcript:
            continue
        told = turn.interrupted if turn.interrupted is not None else record.heard_ms
        made = record.outcome == "spoken" or not (course.models.slow or course.models.faulty)
        heard = heard_words(turn, told, made=made)
        if cut := [(ms, played) for ms, turn_id, played in course.truncated if turn_id == turn.turn_id]:
            possible.append(truncations(course, turn, heard, cut, (known_ms, asked_ms), made=made))
            continue
        if turn.interrupted is not None:
            reports = [(ms, played) for ms, turn_id, played in course.reports if turn_id == turn.turn_id]
            if any(turn.ended_ms <= ms <= known_ms for ms, _ in reports):
                heard = heard_words(turn, max(played for ms, played in reports if ms <= known_ms), made=made)
            for ms, played in reports:
                if max(known_ms, turn.ended_ms) <= ms <= asked_ms:
                    heard |= heard_words(turn, played, made=made)
            possible.append([(turn.transcript, text) for text in heard])
        elif heard != {""}:
            possible.append([(turn.transcript, text) for text in heard if text] + ([("", "")] if "" in heard else []))
    for history in itertools.product(*possible[-4:]):
        yield [exchange for exchange in history if exchange[0]][-2:]


def truncations(
    course: Course,
    turn: Turn,
    heard: set[str],
    cut: list[tuple[float, float]],
    between_ms: tuple[float, float],
    *,
    made: bool,
) -> list[tuple[str, str]]:
    """What there can be of a turn whose reply was truncated: at the last time before the model was asked."""
    known_ms, asked_ms = between_ms
    assert turn.transcript
    before = [played for ms, played in cut if ms <= known_ms]
    texts = heard_words(turn, before[-1], made=made) if before else set(heard)
    for ms, played in cut:
        if known_ms <= ms <= asked_ms:
            texts |= heard_words(turn, played, made=made)
    for _, turn_id, played in course.reports:  # a late one of an interrupted reply counts as well
        if turn_id == turn.turn_id:
            texts |= heard_words(turn, played, made=made) | heard
    return [(turn.transcript, text) for text in texts]


def as_shown(history: list[tuple[str, str]]) -> tuple[list[str], str]:
    """The messages, and the questions that are to be joined to the next."""
    shown: list[str] = []
    unanswered = ""
    for question, heard in history:
        unanswered = f"{unanswered} {question}".strip()
        if heard:
            shown += [unanswered, heard]
            unanswered = ""
    return shown, unanswered


def the_model_is_shown_what_was_heard(course: Course) -> None:
    turns = [turn for turn in turns_of(course.log) if turn.ended is not None]
    slack_ms = 8 * (course.setting.send_ms or 0.0) + 1e-3
    for asked in course.models.script.asked["llm"]:
        messages = [message.content for message in asked.request.messages[1:]]
        roles = [message.role for message in asked.request.messages[1:]]
        assert roles == ["user", "assistant"] * (len(roles) // 2) + ["user"]
        before = [turn for turn in turns if turn.ended_ms < asked.ms]
        until = [turn for turn in turns if turn.ended_ms <= asked.ms + slack_ms]
        possible = [
            as_shown(history)
            for count in range(len(before), len(until) + 1)
            for history in exchanges(course, turns[:count], asked_since(course, messages[-1]), asked.ms + slack_ms)
        ]
        assert any(
            messages[:-1] == shown and messages[-1].removeprefix(unanswered).strip() in course.models.emitted
            for shown, unanswered in possible
        ), f"at {asked.ms} shown {messages}, not one of {possible}"


def nobody_works_for_what_is_over(course: Course) -> None:
    assert not course.lingering, f"under way at the end: {course.lingering}"
    assert course.tasks == (2 if course.left else 3), f"{course.tasks} tasks at the end"
    for stage, worker in course.talk.service.models.workers.items():
        assert not worker._line, f"{stage}: requests wait"
        assert not worker._running, f"{stage}: a request is under way"


def the_session_leaves_nothing(course: Course) -> None:
    assert course.talk.over.is_set(), "the session did not end"
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert len(asyncio.all_tasks()) == 2, f"tasks are left: {names}"
    assert course.talk.service.models.pipeline.vad._sessions == 0


def speculations_are_used_or_wasted(course: Course) -> None:
    started, used, wasted = map(course.talk.service.speculations, ("started", "used", "wasted"))
    assert started == used + wasted, f"{started} begun, {used} used, {wasted} wasted"


def turns_are_counted(course: Course) -> None:
    samples = next(iter(course.talk.service.metrics.turns.collect())).samples
    counted = sum(sample.value for sample in samples if sample.name == "s2s_turns_total")
    told = len(turns_of(course.log))
    assert counted == told or (course.left and counted <= told + 1), f"{counted} counted, {told} told"


AT_REST = [
    one_turn_at_a_time_each_with_one_end,
    every_turn_ends_in_time,
    an_utterance_is_a_turn_or_is_none,
    words_are_heard_once,
    nothing_said_is_lost,
    only_words_or_long_speech_interrupt,
    a_turn_is_not_overheard,
    an_answer_is_to_its_question,
    done_waits_for_the_loudspeaker,
    an_interruption_tells_what_was_played,
    the_model_is_shown_what_was_heard,
    nobody_works_for_what_is_over,
]
AFTERWARDS = [the_session_leaves_nothing, speculations_are_used_or_wasted, turns_are_counted]


async def converse(setting: Setting, schedule: tuple[Step, ...]) -> None:
    duplex, send_ms = setting.full_duplex, setting.send_ms
    async with virtual.conversation(*setting.flags, full_duplex=duplex, send_ms=send_ms) as talk:
        course = Course(talk, setting)
        for step in schedule:
            await course.take(step)
        await course.finish()
        for holds in AT_REST:
            holds(course)
        talk.session.end()
        with anyio.move_on_after(1):
            await talk.over.wait()
        for holds in AFTERWARDS:
            holds(course)


TURN = (Say("words", 288.0), Pause(288.0))

# What went wrong once.

LEFT_UNDECIDED: tuple[Step, ...] = (*TURN, Slow("stt", 300.0), *TURN, Leave(drops=False))
"""The session ends while a speculation waits for its words, which were said over a reply."""

COUGH = (Say("cough", 128.0), Pause(288.0))
DECIDED_LATE: tuple[Step, ...] = (*TURN, Slow("stt", 1500.0), Listen(530.0), *TURN, *COUGH, *TURN)
"""When the words said over a reply are there at last, that has ended, and there was more speech."""

DECIDED_WHILE_ANOTHER_ENDS: tuple[Step, ...] = (
    *(*TURN, Slow("stt", 1500.0), Listen(300.0)),
    *(Say("words", 288.0), Pause(1056.0), *TURN),
)
"""While a reply is interrupted by words, which takes its time, another utterance comes to its end."""


Property = Callable[[Setting, tuple[Step, ...]], None]


def drawn(count: int) -> Callable[[Property], Property]:
    """With so many conversations, and with what went wrong once.

    Derandomized: the same ones each time, so that a change is not blamed for what was there before.
    """
    decorators: list[Callable[[Property], Property]] = [
        settings(max_examples=count, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]),
        given(setting=setting_strategy, schedule=schedules),
        example(Setting(), LEFT_UNDECIDED),
        example(Setting(sentences=(6,)), DECIDED_LATE),
        example(Setting(sentences=(9,), send_ms=20.0), DECIDED_WHILE_ANOTHER_ENDS),
    ]

    def decorate(test: Property) -> Property:
        for decorator in reversed(decorators):
            test = decorator(test)
        return test

    return decorate


@drawn(EXAMPLES)
def test_whatever_happens(setting: Setting, schedule: tuple[Step, ...]) -> None:
    virtual.run(converse, setting, schedule, eager=setting.eager)


@pytest.mark.long
@pytest.mark.timeout(300)
@drawn(MANY_EXAMPLES)
def test_whatever_happens_in_many_conversations(setting: Setting, schedule: tuple[Step, ...]) -> None:
    virtual.run(converse, setting, schedule, eager=setting.eager)
