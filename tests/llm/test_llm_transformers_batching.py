"""Continuous batching: the same tokens as alone, whoever joins, leaves or has said the same before."""

import gc
import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
import torch
from llm_support import Asked, answer, generated, joining, llm, question, random_llama
from service import eventually

from speech_to_speech.errors import StageFailed
from speech_to_speech.frames import ChatRequest, Message
from speech_to_speech.llm.transformers.backend import TransformersLlm
from speech_to_speech.workers.worker import Worker

NEW = 24  # tokens of an answer
QUESTIONS = [f"{'Why? ' * (number % 9)}What is {number}?" for number in range(16)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def loaded(folder: Path) -> TransformersLlm:
    """Most of its answers have `NEW` tokens; some find their end before."""
    model = llm(folder, lm_gen_max_new_tokens=NEW)
    model.warm_up()
    return model


@pytest.fixture
def model(loaded: TransformersLlm) -> Iterator[TransformersLlm]:
    """Nothing may be left in it after a test."""
    threads = threading.active_count()
    loaded._model.engine.forget_prefixes()
    yield loaded
    assert_empty(loaded)
    assert threading.active_count() == threads


def assert_empty(model: TransformersLlm) -> None:
    engine = model._model.engine
    assert not engine.busy
    assert engine.pages_taken == 0
    assert not model._answers
    manager, scheduler = engine._manager, engine._processor.scheduler
    assert not scheduler.active_requests
    assert not scheduler.waiting_requests
    assert not scheduler.waiting_requests_order
    assert manager.input_queue.empty()
    assert manager.cancel_queue.empty()
    assert manager.output_router.output_queue.empty()
    engine.forget_prefixes()
    assert engine._processor.cache.compute_free_capacity() == 1.0  # all pages are free


def prompt_of(model: TransformersLlm, request: ChatRequest) -> list[int]:
    return model._model.prompts.tokens(request.messages, model._model.longest_prompt)


def expected(model: TransformersLlm, folder: Path, request: ChatRequest, **options: Any) -> str:
    """The answer by transformers' own `generate`."""
    tokens = generated(folder, prompt_of(model, request), **({"max_new_tokens": NEW} | options))
    return str(model._model.tokenizer.decode(tokens, skip_special_tokens=True)).lstrip()


def test_batched_equals_single_token_by_token(model: TransformersLlm, folder: Path) -> None:
    engine = model._model.engine
    prompts = [prompt_of(model, question(text)) for text in QUESTIONS]
    together = [engine.add(prompt) for prompt in prompts]
    while engine.busy:
        engine.step()
    alone = []
    for prompt in prompts:
        generation = engine.add(prompt)
        while engine.busy:
            engine.step()
        alone.append(generation.tokens)
    reference = [generated(folder, prompt, max_new_tokens=NEW) for prompt in prompts]
    assert [generation.tokens for generation in together] == alone == reference
    assert len({tuple(tokens) for tokens in reference}) == len(QUESTIONS)
    assert sum(len(tokens) == NEW for tokens in reference) > 8


def test_each_of_many_gets_its_own_answer(model: TransformersLlm, folder: Path) -> None:
    requests = [question(text) for text in QUESTIONS]
    assert answer(model, *requests) == [expected(model, folder, request) for request in requests]


def test_a_prompt_longer_than_a_step_is_computed_in_parts(model: TransformersLlm, folder: Path) -> None:
    long = question("Why? " * 80)
    assert len(prompt_of(model, long)) > model._model.engine.size.step_tokens
    requests = [question("Short?"), long, question("Shorter?")]
    assert answer(model, *requests) == [expected(model, folder, request) for request in requests]


def test_requests_join_between_two_tokens(model: TransformersLlm, folder: Path) -> None:
    order: list[tuple[str, int]] = []

    def note(job: Asked) -> None:
        order.append((job.request.messages[-1].content, len(job.outputs)))

    first, second, third = (Asked(question(text), on_output=note) for text in QUESTIONS[:3])
    model.run_continuously([first], joining([], [], [second], [], [third]))
    for job in (first, second, third):
        assert job.ends == 1
        assert job.text == expected(model, folder, job.request)
    assert order.index((QUESTIONS[0], 4)) > order.index((QUESTIONS[1], 1))
    assert order.index((QUESTIONS[0], len(first.outputs))) > order.index((QUESTIONS[2], 1))


def test_every_token_is_told_at_once(model: TransformersLlm, folder: Path) -> None:
    """A step per token, the first of them with the prompt; special tokens are no text."""
    engine, steps = model._model.engine, []
    # A `<` may begin a thought, so it has to wait for the next token.
    request = next(question(text) for text in QUESTIONS if "<" not in expected(model, folder, question(text)))
    job = Asked(request, on_output=lambda job: steps.append(engine.tokens_computed))
    prompt = prompt_of(model, job.request)
    before = engine.tokens_computed + len(prompt)
    model.run([job])
    special = model._model.silent_ids
    tokens = generated(folder, prompt, max_new_tokens=NEW)
    assert [step - before for step in steps] == [at for at, token in enumerate(tokens) if token not in special]
    assert len(steps) > 10


@pytest.mark.parametrize("leave_after", [0, 1, 5])
def test_a_cancelled_request_stops_at_once(model: TransformersLlm, folder: Path, leave_after: int) -> None:
    engine = model._model.engine
    job = Asked(question(QUESTIONS[3]), leave_after)
    before = engine.tokens_computed
    model.run([job])
    assert len(job.outputs) == leave_after
    assert job.ends == 1
    assert job.error is None
    tokens = generated(folder, prompt_of(model, job.request), max_new_tokens=NEW)
    texts = [at for at, token in enumerate(tokens, 1) if token not in model._model.silent_ids]
    told = texts[leave_after - 1] if leave_after else 0  # tokens up to the last one told: none is computed after it
    assert engine.tokens_computed - before == (len(prompt_of(model, job.request)) + told - 1 if leave_after else 0)


def test_a_cancelled_request_leaves_the_others_as_they_are(model: TransformersLlm, folder: Path) -> None:
    jobs = [Asked(question(text), number if number % 2 else None) for number, text in enumerate(QUESTIONS)]
    model.run(jobs)
    for number, job in enumerate(jobs):
        whole = expected(model, folder, job.request)
        assert whole.startswith(job.text) if number % 2 else whole == job.text
        assert job.ends == 1


def test_cancels_at_random_leave_nothing(model: TransformersLlm) -> None:
    """The model's fixture looks for what is left."""
    chance = random.Random(4)
    jobs = [Asked(question(chance.choice(QUESTIONS)), chance.randrange(NEW)) for _ in range(150)]
    waiting = list(jobs)

    def join() -> Sequence[Asked]:
        under_way = sum(not job.ends for job in jobs) - len(waiting)
        count = min(chance.choice([0, 0, 1, 3]), model.batch_limit - under_way)
        return [waiting.pop() for _ in range(min(count, len(waiting)))]

    while waiting:
        model.run_continuously([waiting.pop()], join)
    assert [job.ends for job in jobs] == [1] * len(jobs)
    assert all(job.error is None for job in jobs)
    assert sum(job.cancelled for job in jobs) > 100


def test_memory_is_flat_over_many_requests(model: TransformersLlm) -> None:
    def turns(count: int) -> int:
        for number in range(count):
            model.run([Asked(question(QUESTIONS[number % 16]), number % 5)])
        gc.collect()
        return len(gc.get_objects())

    turns(20)
    before = turns(5)
    assert abs(turns(60) - before) < 50
    states = [each for each in gc.get_objects() if type(each).__name__ in ("RequestState", "Generation", "Answer")]
    assert not states


# The prefix of the prompt.


def chat(turns: int) -> ChatRequest:
    messages = [Message("system", "You are a helpful voice assistant. Answer in one sentence.")]
    for number in range(turns):
        messages += [Message("user", f"Question {number}?"), Message("assistant", f"Answer number {number}.")]
    return ChatRequest((*messages, Message("user", "And now?")), "en")


def computed_for(model: TransformersLlm, request: ChatRequest) -> int:
    """Tokens of the prompt that were computed."""
    engine = model._model.engine
    before = engine.tokens_computed
    answer(model, request)
    return engine.tokens_computed - before - (NEW - 1)


def test_the_next_turn_computes_only_what_is_new(model: TransformersLlm) -> None:
    page = model._model.engine.size.page
    assert computed_for(model, chat(3)) == len(prompt_of(model, chat(3)))
    new = len(prompt_of(model, chat(4))) - len(prompt_of(model, chat(3)))
    assert new <= computed_for(model, chat(4)) <= new + len("[u]And now?|[a]") + page
    assert computed_for(model, chat(4)) <= page


def test_what_the_model_has_said_is_not_computed_again(model: TransformersLlm) -> None:
    first = question("Tell me.")
    (said,) = answer(model, first)
    second = ChatRequest((*first.messages, Message("assistant", said), Message("user", "More.")), "en")
    shared = len(prompt_of(model, first)) + len(said)
    assert computed_for(model, second) <= len(prompt_of(model, second)) - shared + 2 * model._model.engine.size.page


def test_conversations_share_the_system_message(model: TransformersLlm) -> None:
    one, other = chat(0), ChatRequest((chat(0).messages[0], Message("user", "Who are you?")), "en")
    assert computed_for(model, one) == len(prompt_of(model, one))
    system = len(chat(0).messages[0].content)
    assert computed_for(model, other) <= len(prompt_of(model, other)) - system + model._model.engine.size.page


def test_a_shared_prefix_changes_no_answer(model: TransformersLlm, folder: Path) -> None:
    """Turns of many conversations in any order, some of them cut short."""
    chance = random.Random(7)
    requests = [chat(turns) for turns in range(6)] + [question(text) for text in QUESTIONS[:4]]
    jobs = [Asked(chance.choice(requests), chance.choice([None, None, 1, 9])) for _ in range(60)]
    batches = [[jobs.pop() for _ in range(chance.randrange(4))] for _ in range(12)]
    model.run_continuously(jobs[:8], joining(*batches))
    for job in [*jobs[:8], *(job for batch in batches for job in batch)]:
        assert job.ends == 1
        whole = expected(model, folder, job.request)
        assert whole.startswith(job.text) if job.cancelled else whole == job.text


# A cache that is full.


@pytest.fixture(scope="module")
def narrow(folder: Path) -> TransformersLlm:
    """Room for two or three requests."""
    return llm(folder, lm_gen_max_new_tokens=NEW, lm_kv_cache_gb=0.000_06)


def test_requests_wait_for_room_in_the_cache(narrow: TransformersLlm, folder: Path) -> None:
    engine = narrow._model.engine
    most, running = 0, 0

    def look(job: Asked) -> None:
        nonlocal most, running
        most, running = max(most, engine.pages_taken), max(running, len(engine._running))

    jobs = [Asked(question(text), on_output=look) for text in QUESTIONS * 2]
    narrow.run(jobs)
    assert [job.text for job in jobs] == [expected(narrow, folder, job.request) for job in jobs]
    assert most <= engine.size.pages
    assert 1 < running < 8
    assert_empty(narrow)


def test_a_prompt_longer_than_the_cache_fails_alone(narrow: TransformersLlm, folder: Path) -> None:
    good, too_long = Asked(question("Short?")), Asked(question("Why? " * 70))
    narrow.run([too_long, good])
    assert isinstance(too_long.error, StageFailed)
    assert f"{narrow._model.longest_prompt} is the limit" in str(too_long.error)
    assert (good.ends, good.text) == (1, expected(narrow, folder, good.request))
    assert_empty(narrow)


def test_a_prompt_as_long_as_can_be_is_answered(narrow: TransformersLlm, folder: Path) -> None:
    longest = question("")
    room = narrow._model.longest_prompt - len(prompt_of(narrow, longest))
    longest = question("x" * room)
    assert len(prompt_of(narrow, longest)) == narrow._model.longest_prompt
    requests = [longest, question("Short?"), longest, question("Short?")]
    assert answer(narrow, *requests) == [expected(narrow, folder, request) for request in requests]
    assert_empty(narrow)


def test_cancels_in_a_full_cache_let_the_others_go_on(narrow: TransformersLlm, folder: Path) -> None:
    chance = random.Random(11)
    jobs = [Asked(question(text), chance.choice([None, 0, 1, 7, 15])) for text in QUESTIONS * 3]
    narrow.run_continuously(jobs[:4], joining(*(jobs[start : start + 2] for start in range(4, 48, 2))))
    for job in jobs:
        assert job.ends == 1
        whole = expected(narrow, folder, job.request)
        assert whole.startswith(job.text) if job.cancelled else whole == job.text
    assert_empty(narrow)


# Failures.


def fail_once(model: TransformersLlm, error: Exception, after: int = 0) -> None:
    """Let a step of the model raise."""
    steps = iter(range(after + 1))

    def hook(*_: Any) -> None:
        if next(steps) == after:
            handle.remove()
            raise error

    handle = model._model.engine._model.register_forward_pre_hook(hook)


def test_a_step_that_raises_ends_all_and_the_next_call_works(model: TransformersLlm, folder: Path) -> None:
    jobs = [Asked(question(text)) for text in QUESTIONS[:3]]
    fail_once(model, ValueError("broken"), after=4)
    with pytest.raises(ValueError, match="broken"):
        model.run(jobs)
    assert not model._model.engine.busy
    request = question(QUESTIONS[5])
    assert answer(model, request) == [expected(model, folder, request)]


def test_full_memory_says_what_to_do(model: TransformersLlm) -> None:
    fail_once(model, torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(StageFailed, match="memory is full; a smaller lm_kv_cache_gb"):
        model.run([Asked(question("Hm?"))])
    assert answer(model, question("Hm?"))


def test_a_request_that_the_manager_refuses_fails_alone(
    model: TransformersLlm, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = model._model.engine._processor.scheduler
    add, refused = scheduler.add_waiting_request, []

    def picky(state: Any) -> None:
        if not refused:
            refused.append(state)
            raise ValueError("not this one")
        add(state)

    monkeypatch.setattr(scheduler, "add_waiting_request", picky)
    jobs = [Asked(question(text)) for text in QUESTIONS[:3]]
    model.run(jobs)
    assert [job.ends for job in jobs] == [1, 1, 1]
    assert isinstance(jobs[0].error, StageFailed)
    assert [job.text for job in jobs[1:]] == [expected(model, folder, job.request) for job in jobs[1:]]


# On a worker.


@pytest.mark.anyio
async def test_a_worker_keeps_conversations_apart(folder: Path) -> None:
    model = TransformersLlm(
        TransformersLlm.Options(lm_model_name=str(folder), lm_device="cpu", lm_gen_max_new_tokens=NEW)
    )
    sizes: list[int] = []
    worker: Worker[ChatRequest, str] = Worker("llm", model, on_batch=lambda stage, size: sizes.append(size))
    await worker.start()
    texts: dict[str, str] = {}

    async def converse(name: str) -> None:
        for turn in range(3):
            request = question(f"{name}, {turn}?")
            async with worker.open(request) as outputs:
                texts[request.messages[-1].content] = "".join([delta async for delta in outputs])

    try:
        async with anyio.create_task_group() as tasks:
            for name in range(10):
                tasks.start_soon(converse, f"Caller {name}")
        await eventually(lambda: worker.idle, "the worker is idle")
    finally:
        await worker.close()
    assert texts == {text: expected(model, folder, question(text)) for text in texts}
    assert len(texts) == 30
    assert max(sizes) >= 5
    assert_empty(model)


@pytest.mark.anyio
async def test_who_leaves_a_worker_stops_the_model_within_a_token(folder: Path) -> None:
    model = TransformersLlm(
        TransformersLlm.Options(lm_model_name=str(folder), lm_device="cpu", lm_gen_max_new_tokens=400)
    )
    worker: Worker[ChatRequest, str] = Worker("llm", model)
    await worker.start()
    engine = model._model.engine
    try:
        for _ in range(10):
            async with worker.open(question("Tell me a long story.")) as outputs:
                assert await anext(outputs)
            at_cancel = engine.tokens_computed
            await eventually(lambda: worker.idle, "the worker is idle")
            assert engine.tokens_computed - at_cancel <= 1
            assert engine.pages_taken == 0
    finally:
        await worker.close()
    assert_empty(model)
