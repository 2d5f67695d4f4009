"""`llm transformers`: the tiny Llama's answers, and what the options do to a random one's."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from llm_support import (
    END,
    PHRASES,
    TEMPLATE,
    TINY,
    Asked,
    answer,
    generated,
    joining,
    letters,
    llm,
    question,
    random_llama,
)

from speech_to_speech.config.settings import Settings
from speech_to_speech.conversation.chat import Chat
from speech_to_speech.frames import ChatRequest
from speech_to_speech.llm.transformers.backend import TransformersLlm

EVERY_PHRASE = [(language, phrase) for language, phrases in PHRASES.items() for phrase in phrases]


@pytest.fixture(scope="module")
def tiny() -> TransformersLlm:
    model = llm(TINY / "llama")
    model.warm_up()
    return model


def asked(text: str, language: str) -> ChatRequest:
    return ChatRequest(Chat(Settings.init_chat_prompt, 2).asked(text), language)


def test_the_tiny_llama_knows_every_answer(tiny: TransformersLlm) -> None:
    wrong = {
        phrase["question"]: said
        for language, phrase in EVERY_PHRASE
        for said in answer(tiny, asked(phrase["question"], language))
        if said != phrase["answer"]
    }
    assert not wrong


def test_of_many_at_once_each_gets_its_own_answer(tiny: TransformersLlm) -> None:
    """All phrases in six languages, joining one after the other."""
    jobs = [Asked(asked(phrase["question"], language)) for language, phrase in EVERY_PHRASE]
    tiny.run_continuously(jobs[:1], joining(*([job] for job in jobs[1:])))
    assert [job.text for job in jobs] == [phrase["answer"] for _, phrase in EVERY_PHRASE]
    assert all(len(job.outputs) > 5 for job in jobs)


# Options. The model's answers are those of `generate`.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(tmp_path_factory.mktemp("llama"))


REQUEST = question("What is it?")


def tokens_of(model: TransformersLlm, request: ChatRequest = REQUEST) -> list[int]:
    """The tokens of an answer."""
    engine = model._model.engine
    generation = engine.add(prompt_of(model, request))
    while engine.busy:
        engine.step()
    assert generation.error is None
    return generation.tokens


def prompt_of(model: TransformersLlm, request: ChatRequest = REQUEST) -> list[int]:
    return model._model.prompts.tokens(request.messages, model._model.longest_prompt)


@pytest.mark.parametrize("most", [1, 2, 17])
def test_an_answer_has_no_more_tokens_than_allowed(folder: Path, most: int) -> None:
    model = llm(folder, lm_gen_max_new_tokens=most)
    tokens = tokens_of(model)
    assert len(tokens) == most
    assert tokens == generated(folder, prompt_of(model), max_new_tokens=most)


@pytest.mark.parametrize("where", ["generation config", "model config", "tokenizer"])
def test_any_of_the_ends_ends_the_answer(tmp_path: Path, where: str) -> None:
    """Llama 3 has several, and some checkpoints name one in the tokenizer only."""
    whole = generated(random_llama(tmp_path / "endless"), prompt_of(llm(tmp_path / "endless")), max_new_tokens=20)
    end = next(token for token in whole[4:] if token not in whole[:4])
    kept = whole[: whole.index(end)]
    ends = {"generation config": {"ends": [letters().eos_token_id, end]}, "model config": {"ends": []}}.get(where, {})
    folder = random_llama(tmp_path / "ending", **ends)  # type: ignore[arg-type]
    if where == "model config":
        _edit(folder / "config.json", f'"eos_token_id": {letters().eos_token_id}', f'"eos_token_id": {end}')
    if where == "tokenizer":
        _edit(folder / "tokenizer_config.json", f'"eos_token": "{END}"', f'"eos_token": "{letters().decode([end])}"')
    model = llm(folder, lm_gen_max_new_tokens=20)
    assert end in model._model.engine._sampling.eos_ids
    if where != "tokenizer":  # the tokenizer's end is in the prompt too, so the answer is another there
        assert tokens_of(model) == [*kept, end]
        assert answer(model, REQUEST) == [letters().decode(kept, skip_special_tokens=True).lstrip()]


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_an_answer_has_no_fewer_tokens_than_asked_for(tmp_path: Path) -> None:
    """As `generate` does it, for requests at different points of their answers."""
    ends = list(range(0, 90, 2))  # half of all tokens
    folder = random_llama(tmp_path, ends=ends)
    ends.append(letters().eos_token_id)
    model = llm(folder, lm_gen_min_new_tokens=12, lm_gen_max_new_tokens=20)
    requests = [question(f"What is {number}?") for number in range(6)]
    engine = model._model.engine
    generations = []
    for request in requests:
        generations.append(engine.add(prompt_of(model, request)))
        engine.step()
    while engine.busy:
        engine.step()
    for request, generation in zip(requests, generations, strict=True):
        reference = generated(
            folder, prompt_of(model, request), eos_token_id=tuple(ends), min_new_tokens=12, max_new_tokens=20
        )
        assert generation.tokens == reference
        assert 12 < len(reference) <= 20
        assert not set(reference[:12]) & set(ends)
    free = llm(folder, lm_gen_max_new_tokens=20)
    assert any(len(tokens_of(free, request)) < 12 for request in requests)


def test_without_sampling_and_at_temperature_0_the_likeliest_token_is_taken(folder: Path) -> None:
    greedy = generated(folder, prompt_of(llm(folder)), max_new_tokens=20)
    for options in ({"lm_gen_temperature": 5.0}, {"lm_gen_do_sample": True}):
        model = llm(folder, lm_gen_max_new_tokens=20, **options)
        assert tokens_of(model) == tokens_of(model) == greedy


def test_with_sampling_answers_differ(folder: Path) -> None:
    model = llm(folder, lm_gen_max_new_tokens=20, lm_gen_do_sample=True, lm_gen_temperature=1.0)
    assert len({tuple(tokens_of(model)) for _ in range(8)}) > 4


def test_a_low_temperature_is_close_to_the_likeliest(folder: Path) -> None:
    model = llm(folder, lm_gen_max_new_tokens=20, lm_gen_do_sample=True, lm_gen_temperature=1e-4)
    assert tokens_of(model) == generated(folder, prompt_of(model), max_new_tokens=20)


def test_top_k_of_the_checkpoint_is_used(tmp_path: Path) -> None:
    folder = random_llama(tmp_path, generation={"top_k": 1, "do_sample": True})
    model = llm(folder, lm_gen_max_new_tokens=20, lm_gen_do_sample=True, lm_gen_temperature=3.0)
    assert tokens_of(model) == generated(folder, prompt_of(model), max_new_tokens=20)


def test_the_log_says_what_of_the_checkpoint_is_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="speech_to_speech")
    llm(random_llama(tmp_path, generation={"repetition_penalty": 1.3}))
    assert "of the checkpoint's generation config repetition_penalty is not used" in caplog.text


def test_thoughts_are_not_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that thinks aloud: its tokens are given, what is said of them is what counts."""
    model = llm(folder, lm_gen_max_new_tokens=60)
    thinking = letters()("<think>Hm, let me see.</think> It is nine.").input_ids
    step = model._model.engine.step
    steps = []

    def replaced() -> Any:
        steps.append(1)
        generations = step()
        for generation in generations:
            generation.tokens = thinking[: len(steps)]
        return generations

    monkeypatch.setattr(model._model.engine, "step", replaced)
    job = Asked(REQUEST)
    model.run([job])
    assert job.text == "It is nine."[: max(0, len(steps) - len("<think>Hm, let me see.</think> "))]
    assert job.text


def test_logs_have_no_words(folder: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level("DEBUG")
    model = llm(folder, lm_gen_max_new_tokens=8)
    (said,) = answer(model, question("Mother's maiden name"))
    assert caplog.records
    logged = caplog.text + "".join(capfd.readouterr())
    assert "maiden" not in logged
    assert said not in logged


def test_importing_the_backend_imports_nothing_heavy() -> None:
    code = (
        "import sys; from speech_to_speech.llm.transformers.backend import TransformersLlm; TransformersLlm.Options();"
        "print([name for name in ('torch', 'transformers', 'tokenizers', 'huggingface_hub') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("option", "value", "problem"),
    [
        ("lm_model_name", " ", "lm_model_name: a name is expected"),
        ("user_role", "", "user_role: a name is expected"),
        ("init_chat_role", "", "init_chat_role: a name is expected"),
        ("lm_device", "gpu", "lm_device: auto, cpu, cuda, cuda:1 or mps is allowed, not 'gpu'"),
        ("lm_torch_dtype", "int8", "lm_torch_dtype: there are float16, bfloat16, float32, auto, not 'int8'"),
        ("lm_quantization", "2bit", "lm_quantization: there are 8bit, 4bit, not '2bit'"),
        ("lm_attention", "none", "lm_attention: there are auto, sdpa, eager, flash_attention_2, not 'none'"),
        ("lm_gen_max_new_tokens", 0, "lm_gen_max_new_tokens: 1 to 4096 is allowed, not 0"),
        ("lm_gen_min_new_tokens", 129, "lm_gen_min_new_tokens: 0 to lm_gen_max_new_tokens, 128, is allowed, not 129"),
        ("lm_gen_temperature", -0.1, "lm_gen_temperature: 0 to 10 is allowed, not -0.1"),
        ("lm_kv_cache_gb", 0.0, "lm_kv_cache_gb: more than 0 and at most 1000 is allowed, not 0.0"),
    ],
)
def test_bad_values_are_refused_in_one_line(option: str, value: Any, problem: str) -> None:
    with pytest.raises(ValueError, match=option) as caught:
        TransformersLlm.Options(**{option: value})
    assert str(caught.value) == problem


def test_the_defaults_are_those_of_the_original() -> None:
    options = TransformersLlm.Options()
    assert (options.lm_model_name, options.lm_device) == ("HuggingFaceTB/SmolLM-360M-Instruct", "cuda")
    assert (options.lm_torch_dtype, options.lm_gen_max_new_tokens) == ("float16", 128)
    assert (options.lm_gen_min_new_tokens, options.lm_gen_temperature, options.lm_gen_do_sample) == (0, 0.0, False)
    assert (options.user_role, options.init_chat_role) == ("user", "system")


def test_a_template_without_a_system_role_hears_the_system_message(tmp_path: Path) -> None:
    template = TEMPLATE.replace("'system', ", "")
    model = llm(random_llama(tmp_path, template=template), lm_gen_max_new_tokens=8)
    assert not model._model.prompts.has_system_role
    brief, long = answer(model, question("Who?", "Be brief."), question("Who?", "Take your time."))
    assert brief != long
