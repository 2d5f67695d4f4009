"""The load generator: a process of its own that holds N conversations in real time and prints what it found.

    python -m benchmarks.generator ws://127.0.0.1:8000/ws --conversations 64 --seconds 60

Standard output is one JSON object a line: `{"phase": "steady"}` when all callers have begun, `{"phase": "ending"}` when
no new utterance is begun any more, and last `{"phase": "result", ...}`, see `Run.result`.
"""

import argparse
import gc
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass

from benchmarks import clips
from benchmarks.callers import TURN_LIMIT_S, Caller, Turn
from benchmarks.handshake import Refused, connect
from benchmarks.interrupters import Interrupter
from benchmarks.microphones import Connection, Microphones, clock

SPREAD_S = 5.0
"""The first words of the conversations are spread over this long, about one turn."""
RAMP_S = 6.0
"""Turns whose speech ended earlier than this after the start are a warm-up: judged, but not timed."""
TAIL_S = 0.5
"""The generator listens for so long after the last turn, for a `DONE` too many."""


@dataclass(frozen=True)
class Plan:
    """What to run."""

    url: str
    conversations: int
    seconds: float
    turns: int
    """The run has at least so many timed turns, if need be for longer than `seconds`."""
    limit_seconds: float
    """The run is not longer than this, however few turns are timed."""
    events: bool
    """The first conversation asks for events."""
    all_events: bool
    """All conversations ask for events."""
    pauses: bool
    """The callers make pauses in their sentences."""
    interrupt: bool
    """The callers speak over every other reply, in full duplex."""


def say(phase: str, **fields: object) -> None:
    """Print one line for whoever started us."""
    print(json.dumps({"phase": phase, **fields}), flush=True)


class Run:
    """One run of a plan."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        speeches = clips.sentences_with_pauses() if plan.pauses else clips.sentences()
        kind = Interrupter if plan.interrupt else Caller
        self.callers = [kind(number, plan.conversations, speeches) for number in range(plan.conversations)]
        self.start = self.steady = self.ending = self.idle = 0.0
        self._cpu_at_steady = self.cpu_share = 0.0

    def go(self) -> Microphones:
        """Connect everyone, then talk."""
        connections = []
        for number, caller in enumerate(self.callers):
            connections.append(Connection(*connect(self._url(number)), caller))
        microphones = Microphones(connections)
        gc.collect()
        gc.freeze()
        gc.disable()  # a collection in the middle would be lag of the generator's own making
        self.start = clock()
        spread = random.Random(self.plan.conversations)
        for caller in self.callers:
            caller.speak_at(self.start + spread.uniform(0, SPREAD_S))
        microphones.run(self._going)
        return microphones

    def _url(self, number: int) -> str:
        plan = self.plan
        query = ["full_duplex=1"] if plan.interrupt else []
        if plan.all_events or (plan.events and number == 0):
            query.append("events=1")
        mark = "&" if "?" in plan.url else "?"
        return plan.url + (mark + "&".join(query) if query else "")

    def _going(self, now: float) -> bool:
        if not self.steady:
            if now - self.start >= RAMP_S:
                self.steady = now
                self._cpu_at_steady = time.process_time()
                say("steady")
        elif not self.ending:
            lasted = now - self.steady
            enough = lasted >= self.plan.seconds and self._timed_turns() >= self.plan.turns
            if enough or lasted >= self.plan.limit_seconds:
                self.ending = now
                self.cpu_share = (time.process_time() - self._cpu_at_steady) / lasted
                for caller in self.callers:
                    caller.stopping = True
                say("ending")
        elif any(caller.busy for caller in self.callers):
            self.idle = 0.0
            return now - self.ending < 2 * TURN_LIMIT_S
        else:
            self.idle = self.idle or now
            return now - self.idle < TAIL_S
        return True

    def _timed_turns(self) -> int:
        if len(self.callers) > self.plan.turns:  # counting thousands of turns each frame would be lag
            return self.plan.turns
        return sum(turn.done is not None and self._timed(turn.speech_end) for c in self.callers for turn in c.turns)

    def _timed(self, speech_end: float | None) -> bool:
        return speech_end is not None and bool(self.steady) and speech_end >= self.steady

    def result(self, microphones: Microphones) -> dict[str, object]:
        """The figures; times in ms. `voice_to_voice_ms` holds the timed turns that got a reply."""
        turns = [turn for caller in self.callers for turn in caller.turns]
        timed = [turn for turn in turns if self._timed(turn.speech_end)]
        faults = [fault for turn in turns for fault in turn.faults[:1]]
        endpoint_ms = [value for caller in self.callers for value in caller.endpoint_to_audio_ms()]
        return {
            "conversations": self.plan.conversations,
            "turns": len(turns),
            "timed_turns": len(timed),
            "seconds": self.ending - self.steady,
            "failed": sum(bool(turn.faults) for turn in turns),
            "failed_by_kind": dict(Counter(fault.partition(":")[0] for fault in faults)),
            "first_faults": [f"conversation {t.conversation}: {'; '.join(t.faults)}" for t in turns if t.faults][:8],
            "lost": sum(caller.lost_because is not None for caller in self.callers),
            "late_chunks": sum(turn.late_chunks for turn in turns),
            "turns_with_late_chunks": sum(turn.late_chunks > 0 for turn in turns),
            "voice_to_voice_ms": [v for turn in timed if (v := turn.voice_to_voice_ms) is not None],
            "endpoint_to_audio_ms": endpoint_ms,
            "audio_before_endpoint": sum(value < 0 for value in endpoint_ms),
            "first_audio": [
                _first_audio_ms(t.record) for t in timed if t.record.get("first_audio_sent_ms") is not None
            ],
            "interrupted": sum(turn.interruption is not None for turn in turns),
            "interruptions": [_since_interruption_ms(turn) for turn in timed if turn.interruption is not None],
            "error_events": dict(
                Counter(str(e.get("code")) for c in self.callers for e in c.events if e.get("type") == "error")
            ),
            "frames_sent": microphones.frames_sent,
            "lag_p99_ms": microphones.lag.percentile_ms(99),
            "lag_max_ms": microphones.lag.percentile_ms(100),
            "generator_cpu_share": self.cpu_share,
        }


def _first_audio_ms(record: dict[str, object]) -> dict[str, float]:
    """From the end of speech to the first audio, and what STT took, by the service's own clock, in ms."""
    stt_rtf, speech_ms, sent_ms = (float(str(record[name])) for name in ("stt_rtf", "speech_ms", "first_audio_sent_ms"))
    return {"sent": sent_ms, "stt": stt_rtf * speech_ms}


def _since_interruption_ms(turn: Turn) -> dict[str, float]:
    """What happened after the first sample of speech over a reply, in ms."""
    steps = {
        "paused": turn.paused,
        "last_block": turn.last_block,
        "played": turn.played,
        "told": turn.interrupted,
        "done": turn.done,
    }
    began = turn.interruption or 0.0
    return {step: 1000 * (at - began) for step, at in steps.items() if at is not None}


def add_plan_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that the generator and the load measurement share."""
    parser.add_argument("--seconds", type=float, default=60, help="how long, after a ramp of 6 s (default 60)")
    parser.add_argument("--turns", type=int, default=32, help="at least so many timed turns (default 32)")
    parser.add_argument("--limit-seconds", type=float, default=300, help="...but not beyond this (default 300)")
    parser.add_argument("--no-events", dest="events", action="store_false", help="no events on the first conversation")


def main() -> int:
    """Run the plan of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="ws://host:port/ws")
    parser.add_argument("--conversations", type=int, default=1)
    add_plan_arguments(parser)
    parser.add_argument("--all-events", action="store_true", help="events on all conversations")
    parser.add_argument("--pauses", action="store_true", help="short pauses in the callers' sentences")
    parser.add_argument("--interrupt", action="store_true", help="full duplex: speak over every other reply")
    run = Run(Plan(**vars(parser.parse_args())))
    try:
        microphones = run.go()
    except (Refused, OSError) as error:
        print(f"the load generator could not connect: {error}", file=sys.stderr)
        return 1
    say("result", **run.result(microphones))
    return 0


if __name__ == "__main__":
    sys.exit(main())
