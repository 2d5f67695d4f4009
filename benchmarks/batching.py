"""Continuous batching of the language model against plain batches and against one request at a time: how long a
question waits for the first token of its answer, and how many tokens there are in all.

Conversations ask, hear the answer, think for a random while and ask again, with what was said before in the prompt.
Plain batches are the least one can do: all that wait are generated together, and who comes later waits for the end.

Time here is the CPU time of the one thread that computes, with the waits added where it has nothing to do: what else
runs on the machine does not count, and nothing has to be waited for. Run it where there is no GPU.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import random_llama
from benchmarks.tables import table, target
from benchmarks.units import percentile
from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.llm.transformers.backend import TransformersLlm

SYSTEM = Message("system", "You are a helpful voice assistant. Answer in one or two sentences.")
QUESTION_TOKENS = (20, 60)
ANSWER_TOKENS = (15, 60)
EXCHANGES = 6  # the most exchanges that a prompt has
THINKING = 2.0  # a caller thinks this many times as long as an answer takes alone
LEVELS = "1,4,16"
SIZES = {"tiny": (random_llama.TINY, 8), "small": (random_llama.SMALL, 3)}
"""The model, and how many turns each conversation has."""
LONG_CHAT = 10  # exchanges of the chat that the prefix is measured with


class Clock:
    def __init__(self) -> None:
        self._skipped_s = 0.0

    def now_s(self) -> float:
        return time.process_time() + self._skipped_s

    def skip_to(self, when_s: float) -> None:
        self._skipped_s += max(0.0, when_s - self.now_s())


@dataclass
class Turn:
    """A job: a question, and when its answer came."""

    request: ChatRequest
    tokens: int
    """The caller hears so many tokens, and then listens no more."""
    asked_s: float
    clock: Clock
    on_end: Callable[["Turn"], None]
    heard_s: list[float] = field(default_factory=list)
    text: str = ""
    cancelled: bool = False

    def emit(self, output: str) -> None:
        self.heard_s.append(self.clock.now_s())
        self.text += output
        if len(self.heard_s) >= self.tokens:
            self.cancelled = True
            self.on_end(self)

    def fail(self, error: Exception) -> None:
        raise error

    def done(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self.on_end(self)


class Callers:
    """Conversations that go on for some turns each; the same ones for each way of batching."""

    def __init__(self, count: int, turns: int, thinking_s: float, clock: Clock) -> None:
        self.ended: list[Turn] = []
        self._clock = clock
        self._thinking_s = thinking_s
        self._chances = [random.Random(number) for number in range(count)]
        self._due: list[tuple[float, int]] = []
        self._left = [turns] * count
        self._histories: list[list[Message]] = [[] for _ in range(count)]
        for number in range(count):
            self._think(number)

    @property
    def all_ended(self) -> bool:
        return not self._due

    def next_s(self) -> float:
        return min(self._due)[0]

    def ask(self) -> list[Turn]:
        """The questions that have come."""
        now_s = self._clock.now_s()
        due = sorted(each for each in self._due if each[0] <= now_s)
        self._due = [each for each in self._due if each[0] > now_s]
        return [self._question(number, when_s) for when_s, number in due]

    def _think(self, number: int) -> None:
        self._due.append((self._clock.now_s() + self._chances[number].expovariate(1 / self._thinking_s), number))

    def _question(self, number: int, asked_s: float) -> Turn:
        chance, history = self._chances[number], self._histories[number]
        words = "".join(chance.choices("abcdefgh ", k=chance.randint(*QUESTION_TOKENS)))
        history.append(Message("user", words))

        def end(turn: Turn) -> None:
            history.append(Message("assistant", turn.text))
            del history[: -2 * EXCHANGES]
            self.ended.append(turn)
            self._left[number] -= 1
            if self._left[number]:
                self._think(number)

        request = ChatRequest((SYSTEM, *history), "en")
        return Turn(request, chance.randint(*ANSWER_TOKENS), asked_s, self._clock, end)


class PlainBatches:
    """Each batch on its own, padded on the left, from its prompts on, until the last answer in it ends."""

    def __init__(self, llm: TransformersLlm, most: int) -> None:
        loaded = llm._model
        self._prompts, self._tokenizer, self._model = loaded.prompts, loaded.tokenizer, loaded.engine._model
        self._longest = loaded.longest_prompt
        self.most = most

    def run(self, turns: Sequence[Turn]) -> None:
        import torch
        from transformers import DynamicCache

        prompts = [self._prompts.tokens(turn.request.messages, self._longest) for turn in turns]
        width = max(map(len, prompts))
        tokens = torch.tensor([[0] * (width - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        with torch.inference_mode():
            while not all(turn.cancelled for turn in turns):
                output = self._model(
                    tokens, attention_mask=mask, position_ids=positions, past_key_values=cache, logits_to_keep=1
                )
                tokens = output.logits[:, -1].argmax(-1, keepdim=True)
                for turn, token in zip(turns, tokens.flatten().tolist(), strict=True):
                    if not turn.cancelled:
                        turn.emit(self._tokenizer.decode([token]))
                mask = torch.cat([mask, mask.new_ones(len(turns), 1)], dim=-1)
                positions = positions[:, -1:] + 1


@dataclass(frozen=True)
class Found:
    first_ms: list[float]
    gaps_ms: list[float]
    tokens_per_s: float


def found(turns: Sequence[Turn], took_s: float) -> Found:
    return Found(
        [(turn.heard_s[0] - turn.asked_s) * 1000 for turn in turns],
        [(turn.heard_s[-1] - turn.heard_s[0]) * 1000 / max(1, len(turn.heard_s) - 1) for turn in turns],
        sum(len(turn.heard_s) for turn in turns) / took_s,
    )


def measure(way: TransformersLlm | PlainBatches, count: int, turns: int, thinking_s: float) -> Found:
    clock = Clock()
    callers = Callers(count, turns, thinking_s, clock)
    waiting: list[Turn] = []
    start_s = clock.now_s()
    while waiting or not callers.all_ended:
        if not waiting:
            clock.skip_to(callers.next_s())
        waiting += callers.ask()
        if isinstance(way, PlainBatches):
            batch, waiting = waiting[: way.most], waiting[way.most :]
            way.run(batch)
        else:
            batch, waiting = waiting, []
            way.run_continuously(batch, callers.ask)
    assert len(callers.ended) == count * turns
    return found(callers.ended, clock.now_s() - start_s)


def alone_s(way: PlainBatches) -> float:
    """What a typical answer takes when nobody else asks."""
    callers = Callers(1, 3, 1e-9, clock := Clock())
    start_s = clock.now_s()
    while not callers.all_ended:
        way.run(callers.ask())
    return (clock.now_s() - start_s) / 3


def prefix_row(llm: TransformersLlm) -> tuple[object, ...]:
    """The first token of a question behind a long chat, when nothing of it was seen before, and when all but the last
    exchange was."""
    chance = random.Random(1)

    def said(role: str) -> Message:
        return Message(role, "".join(chance.choices("abcdefgh ", k=40)))

    chat = [SYSTEM, *(said(role) for _ in range(LONG_CHAT) for role in ("user", "assistant"))]
    engine = llm._model.engine
    row: list[object] = []
    for messages in ((*chat, said("user")), (*chat, said("user"), said("assistant"), said("user"))):
        clock, computed = Clock(), engine.tokens_computed
        turn = Turn(ChatRequest(tuple(messages), "en"), 1, clock.now_s(), clock, lambda turn: None)
        llm.run([turn])
        row += [engine.tokens_computed - computed, (turn.heard_s[0] - turn.asked_s) * 1000]
    return tuple(row)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", default=",".join(SIZES), help=f"models: {', '.join(SIZES)}")
    parser.add_argument("--levels", default=LEVELS, help="conversations at once, comma-separated")


def run(options: argparse.Namespace) -> int:
    """Print the tables."""
    import torch

    torch.set_num_threads(1)  # `Clock` counts CPU time: with one thread, that is the time that passes
    rows: list[tuple[object, ...]] = []
    prefixes: list[tuple[object, ...]] = []
    lines: list[str] = []
    for name in options.sizes.split(","):
        size, turns = SIZES[name]
        with tempfile.TemporaryDirectory() as folder:
            parameters = random_llama.make(size, Path(folder))
            llm = TransformersLlm(
                TransformersLlm.Options(lm_model_name=folder, lm_device="cpu", lm_gen_max_new_tokens=ANSWER_TOKENS[1])
            )
            llm.load()
        llm.warm_up()
        plain, single = PlainBatches(llm, llm.batch_limit), PlainBatches(llm, 1)
        label = f"{name}, {parameters / 1e6:.1f} M"
        thinking_s = THINKING * alone_s(plain)
        ways: dict[str, Any] = {"continuous": llm, "plain": plain, "one at a time": single}
        for count in map(int, options.levels.split(",")):
            results = {way: measure(model, count, turns, thinking_s) for way, model in ways.items()}
            for way, result in results.items():
                first = [percentile(result.first_ms, percent) for percent in (50, 95)]
                rows.append((label, count, way, *first, percentile(result.gaps_ms, 50), result.tokens_per_s))
            ratio = percentile(results["continuous"].first_ms, 50) / percentile(results["plain"].first_ms, 50)
            lines.append(target(f"{label}, {count} conversations: first token against plain batches", ratio, 1, "x"))
        prefixes.append((label, *prefix_row(llm)))
    print(table(("model", "conversations", "way", "first token ms", "p95", "a token ms", "tokens/s"), rows))
    print()
    print(table(("model", "tokens computed", "first token ms", "of the next turn", "first token ms"), prefixes))
    print("\n" + "\n".join(lines))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(parser)
    sys.exit(run(parser.parse_args()))
