"""`llm transformers`: requests of one batch that want temperatures and lengths of their own."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from llm_support import Asked, generated, letters, llm, question, random_llama
from transformers import AutoModelForCausalLM

from speech_to_speech.frames import ChatRequest, Sampling
from speech_to_speech.llm.transformers.backend import TransformersLlm

NEW = 20  # tokens of an answer
REQUEST = question("What is it?")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(tmp_path_factory.mktemp("llama"), ends=[])


@pytest.fixture(scope="module")
def greedy(folder: Path) -> TransformersLlm:
    model = llm(folder, lm_gen_max_new_tokens=NEW)
    model.warm_up()
    return model


@pytest.fixture(scope="module")
def free(folder: Path) -> TransformersLlm:
    model = llm(folder, lm_gen_max_new_tokens=NEW, lm_gen_do_sample=True, lm_gen_temperature=1.0)
    model.warm_up()
    return model


def prompt_of(model: TransformersLlm, request: ChatRequest = REQUEST) -> list[int]:
    return model._model.prompts.tokens(request.messages, model._model.longest_prompt)


def tokens_of(model: TransformersLlm, *wanted: Sampling) -> list[tuple[int, ...]]:
    """The tokens of answers to the same question, all at once."""
    engine = model._model.engine
    generations = [
        engine.add(prompt_of(model), max_tokens=each.max_tokens, temperature=each.temperature) for each in wanted
    ]
    while engine.busy:
        engine.step()
    assert [generation.error for generation in generations] == [None] * len(wanted)
    return [tuple(generation.tokens) for generation in generations]


def likeliest(folder: Path, model: TransformersLlm, **options: Any) -> tuple[int, ...]:
    return tuple(generated(folder, prompt_of(model), **({"max_new_tokens": NEW, "eos_token_id": -1} | options)))


def test_each_answer_is_as_long_as_its_request_allows(greedy: TransformersLlm, folder: Path) -> None:
    lengths = [1, 2, 7, NEW - 1, NEW, NEW + 1, 100_000, None]
    whole = likeliest(folder, greedy)
    assert tokens_of(greedy, *(Sampling(max_tokens=length) for length in lengths)) == [
        whole[: length or NEW] for length in lengths
    ]


def test_a_short_answer_takes_less_room(folder: Path) -> None:
    """Where two whole answers find room, many short ones do."""
    model = llm(folder, lm_gen_max_new_tokens=128, lm_kv_cache_gb=0.000_1)
    engine = model._model.engine

    def at_once(max_tokens: int | None) -> int:
        most = 0
        for _ in range(8):
            engine.add(prompt_of(model), max_tokens=max_tokens)
        while engine.busy:
            engine.step()
            most = max(most, len(engine._running))
        return most

    assert at_once(8) > 2 * at_once(None)


def test_temperature_0_takes_the_likeliest_tokens_whatever_the_others_do(free: TransformersLlm, folder: Path) -> None:
    wanted = [Sampling(0.0), Sampling(), Sampling(0.0, 5), Sampling(2.0)] * 4
    whole = likeliest(folder, free)
    for _ in range(2):
        answers = tokens_of(free, *wanted)
        assert set(answers[0::4]) == {whole}
        assert set(answers[2::4]) == {whole[:5]}
        assert len({*answers[1::4], *answers[3::4]}) == 8


def test_a_temperature_makes_answers_differ_where_the_options_do_not(greedy: TransformersLlm, folder: Path) -> None:
    answers = tokens_of(greedy, *[Sampling(), Sampling(1.0)] * 8)
    assert set(answers[0::2]) == {likeliest(folder, greedy)}
    assert len(set(answers[1::2])) == 8
    assert set(tokens_of(greedy, Sampling(1e-4), Sampling(1e-30))) == {likeliest(folder, greedy)}


@pytest.mark.parametrize("own", ["greedy", "free"])
def test_tokens_are_drawn_with_the_models_probabilities(own: str, folder: Path, request: pytest.FixtureRequest) -> None:
    """First tokens, those of two temperatures and of the likeliest side by side."""
    model: TransformersLlm = request.getfixturevalue(own)
    with torch.inference_mode():
        logits = AutoModelForCausalLM.from_pretrained(folder)(torch.tensor([prompt_of(model)])).logits[0, -1]
    torch.manual_seed(1)
    wanted = [Sampling(1.0, 1), Sampling(0.0, 1), Sampling(3.0, 1)]
    tokens = tokens_of(model, *wanted * 1000)
    for number, temperature in ((0, 1.0), (2, 3.0)):
        assert distance(tokens[number::3], torch.softmax(logits / temperature, -1)) < 0.15
        assert distance(tokens[number::3], torch.softmax(logits / (4 - temperature), -1)) > 0.4
    assert set(tokens[1::3]) == {(int(logits.argmax()),)}


def distance(tokens: Sequence[tuple[int, ...]], probabilities: torch.Tensor) -> float:
    """Between how often there are these tokens and how often there should be: 0 to 1."""
    counts = Counter(token for (token,) in tokens)
    return 0.5 * sum(abs(counts[token] / len(tokens) - float(p)) for token, p in enumerate(probabilities))


@pytest.mark.parametrize("limit", [{"top_k": 1}, {"top_p": 1e-6}])
def test_the_checkpoints_limits_hold_for_a_temperature_of_a_request(tmp_path: Path, limit: dict[str, Any]) -> None:
    folder = random_llama(tmp_path, ends=[], generation={"do_sample": True, **limit})
    model = llm(folder, lm_gen_max_new_tokens=NEW)
    assert set(tokens_of(model, Sampling(3.0), Sampling())) == {likeliest(folder, model)}


def test_a_drawn_answer_is_no_shorter_than_asked_for(tmp_path: Path) -> None:
    ends = list(range(0, 90, 2))  # half of all tokens
    folder = random_llama(tmp_path, ends=ends)
    ends.append(letters().eos_token_id)
    model = llm(folder, lm_gen_min_new_tokens=6, lm_gen_max_new_tokens=NEW)
    answers = tokens_of(model, *[Sampling(2.0), Sampling(0.0), Sampling(2.0, 3)] * 8)
    assert all(not set(tokens[:6]) & set(ends) for tokens in answers)
    assert {len(tokens) for tokens in answers[2::3]} == {3}
    assert all(6 < len(tokens) <= NEW for tokens in answers[0::3])
    assert len({len(tokens) for tokens in answers[0::3]}) > 1


def test_the_backend_passes_on_what_each_request_wants(greedy: TransformersLlm) -> None:
    wanted = [Sampling(), Sampling(max_tokens=4), Sampling(1.0), Sampling(1.0), Sampling(0.0, 1)]
    jobs = [Asked(dataclasses.replace(REQUEST, sampling=each)) for each in wanted]
    greedy.run(jobs)
    assert [(job.ends, job.error) for job in jobs] == [(1, None)] * len(jobs)
    own, short, hot, other, one = (job.text for job in jobs)
    assert own.startswith(short)
    assert short.startswith(one)
    assert len(one) <= 1 < len(short) <= 4 < len(own)
    assert len({own, hot, other}) == 3
