"""The parts of `llm open_api` that need no server: the breaker, the thoughts, the options, the key."""

import itertools
import json
import pickle
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from speech_to_speech.config.settings import describe, load_settings
from speech_to_speech.errors import SettingsError
from speech_to_speech.llm.open_api.backend import OpenApi
from speech_to_speech.llm.open_api.breaker import (
    FAILURES_TO_OPEN,
    FIRST_OPEN_S,
    LONGEST_OPEN_S,
    Breaker,
    CircuitOpen,
)
from speech_to_speech.llm.open_api.errors import LONGEST_WAIT_S, retry_after_s
from speech_to_speech.llm.open_api.options import key_of, url_of
from speech_to_speech.llm.thoughts import Thoughts

KEY = "sk-very-secret-0123456789"


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock: Clock) -> Breaker:
    return Breaker(clock, lambda: 1.0)


def fail(breaker: Breaker, times: int) -> float | None:
    """The last of so many requests' failures; how long the circuit is open after it."""
    open_s = None
    for _ in range(times):
        open_s = breaker.failed(breaker.admit())
    return open_s


def wait_s(breaker: Breaker) -> float:
    with pytest.raises(CircuitOpen) as refused:
        breaker.admit()
    return refused.value.wait_s


# The breaker.


def test_the_circuit_opens_after_some_failures_in_a_row(breaker: Breaker) -> None:
    assert fail(breaker, FAILURES_TO_OPEN - 1) is None
    breaker.succeeded()
    assert fail(breaker, FAILURES_TO_OPEN - 1) is None
    assert not breaker.is_open
    assert fail(breaker, 1) == FIRST_OPEN_S
    assert wait_s(breaker) == FIRST_OPEN_S


def test_one_probe_at_a_time_goes_through(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES_TO_OPEN)
    clock.now_s = FIRST_OPEN_S
    assert breaker.admit() is True
    assert wait_s(breaker) == 0
    breaker.left(probe=True)
    assert breaker.admit() is True
    breaker.succeeded()
    assert breaker.admit() is False


def test_each_failed_probe_opens_the_circuit_for_longer_up_to_a_limit(breaker: Breaker, clock: Clock) -> None:
    waits = [fail(breaker, FAILURES_TO_OPEN)]
    for _ in range(7):
        clock.now_s += 1000
        waits.append(breaker.failed(breaker.admit()))
    assert waits == [1, 2, 4, 8, 16, LONGEST_OPEN_S, LONGEST_OPEN_S, LONGEST_OPEN_S]


def test_a_whole_answer_makes_the_next_wait_short_again(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES_TO_OPEN)
    clock.now_s = 1
    breaker.failed(breaker.admit())
    clock.now_s = 10
    breaker.admit()
    breaker.succeeded()
    assert fail(breaker, FAILURES_TO_OPEN) == FIRST_OPEN_S


def test_an_answer_that_begins_lets_others_ask_and_one_that_breaks_off_ends_that(
    breaker: Breaker, clock: Clock
) -> None:
    fail(breaker, FAILURES_TO_OPEN)
    clock.now_s = 1
    breaker.admit()
    breaker.answering()
    assert breaker.admit() is False
    assert breaker.failed(probe=False) == 2 * FIRST_OPEN_S


def test_requests_that_were_under_way_count_once(breaker: Breaker) -> None:
    passes = [breaker.admit() for _ in range(30)]
    waits = [breaker.failed(probe) for probe in passes]
    assert [wait for wait in waits if wait is not None] == [FIRST_OPEN_S]


def test_what_the_server_asks_for_is_waited_for_within_reason(breaker: Breaker, clock: Clock) -> None:
    fail(breaker, FAILURES_TO_OPEN - 1)
    assert breaker.failed(breaker.admit(), at_least_s=12.0) == 12.0
    clock.now_s = 12
    assert breaker.failed(breaker.admit(), at_least_s=1e9) == LONGEST_OPEN_S


def test_the_wait_varies(clock: Clock) -> None:
    waits = set()
    for chance in (0.0, 0.3, 1.0):
        breaker = Breaker(clock, lambda chance=chance: chance)  # type: ignore[misc]
        waits.add(fail(breaker, FAILURES_TO_OPEN))
    assert waits == {0.5 * FIRST_OPEN_S, 0.65 * FIRST_OPEN_S, FIRST_OPEN_S}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, 0), ("", 0), ("2", 2), ("0.5", 0.5), ("-1", 0), ("soon", 0), ("nan", 0), ("inf", LONGEST_WAIT_S)],
)
def test_retry_after_in_seconds(header: str | None, seconds: float) -> None:
    assert retry_after_s(header) == seconds


def test_retry_after_as_a_date() -> None:
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert retry_after_s(formatdate(4e9, usegmt=True)) == LONGEST_WAIT_S


# The thoughts.

SPOKEN = [
    ("Hello.", "Hello."),
    ("<think>Hm.</think>\n\nHello.", "Hello."),
    ("  <think>\n</think>Hello <b>you</b>.", "Hello <b>you</b>."),
    ("One <think>a < b</think>two <thin ice", "One two <thin ice"),
    ("a<think>b</think><think>c</think>d", "ad"),
    ("<think>Never <ended", ""),
    ("< <t <think", "< <t <think"),
    ("</think>Hello.", "</think>Hello."),
]


@pytest.mark.parametrize(("text", "spoken"), SPOKEN)
def test_thoughts_are_taken_out_wherever_the_text_is_cut(text: str, spoken: str) -> None:
    cuts = [(a, b) for a, b in itertools.combinations_with_replacement(range(len(text) + 1), 2)]
    for a, b in cuts:
        thoughts = Thoughts()
        said = "".join(map(thoughts.push, (text[:a], text[a:b], text[b:]))) + thoughts.finish()
        assert said == spoken, (text[:a], text[a:b], text[b:])
    thoughts = Thoughts()
    assert "".join(map(thoughts.push, text)) + thoughts.finish() == spoken


def test_text_is_not_held_back_longer_than_it_may_be_a_tag() -> None:
    thoughts = Thoughts()
    assert [thoughts.push(piece) for piece in ("a", "<", "b", "<th", "is", ">")] == ["a", "", "<b", "", "<this", ">"]


# The options.


def options_of(*flags: str, **environment: str) -> Any:
    return load_settings(["--llm", "open_api", *flags], environment).options["llm"]


def test_the_originals_flags_and_defaults_are_valid() -> None:
    options = options_of()
    assert (options.open_api_model_name, options.open_api_user_role) == ("deepseek-chat", "user")
    assert (options.open_api_init_chat_role, options.open_api_stream) == ("system", False)
    assert (options.open_api_api_key, options.open_api_base_url) == (None, None)


def test_the_key_is_in_no_text_of_the_settings(tmp_path: Path) -> None:
    given = load_settings(["--llm", "open_api", "--open_api_api_key", KEY], {})
    (tmp_path / "s.json").write_text(json.dumps({"llm": "open_api", "open_api_api_key": KEY}))
    for settings in (given, load_settings([str(tmp_path / "s.json")], {})):
        options = settings.options["llm"]
        assert key_of(options, {}) == KEY
        assert KEY not in f"{settings!r} {options!r} {describe(settings)}"
        assert key_of(pickle.loads(pickle.dumps(options)), {}) == KEY  # the options go to a process, too


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("model_name", " ", "a name is expected"),
        ("user_role", "", "a name is expected"),
        ("base_url", "127.0.0.1:8000/v1", "an address like http"),
        ("base_url", "ftp://host/v1", "an address like http"),
        ("base_url", "http:///v1", "an address like http"),
        ("base_url", "http://host:99999/v1", "an address like http"),
        ("base_url", "http://host/v1?key=secret", "an address like http"),
        ("base_url", "http://me:secret@host/v1", "no user name or password"),
        ("base_url", "http://host/v1/chat/completions", "leave /chat/completions out"),
        ("connect_timeout_s", 0.0, "above 0"),
        ("first_token_timeout_s", float("nan"), "above 0"),
        ("token_timeout_s", 1e6, "up to 3600"),
        ("retries", 11, "0 to 10"),
        ("max_tokens", 0, "1 and more"),
        ("temperature", 2.5, "0 to 2"),
    ],
)
def test_options_out_of_range(option: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"^open_api_{option}: .*{said}") as raised:
        OpenApi.Options(**{f"open_api_{option}": value})
    assert "secret" not in str(raised.value)


def test_two_keys_for_one_server_are_refused() -> None:
    import pydantic

    with pytest.raises(ValueError, match="only one of them"):
        OpenApi.Options(open_api_api_key=pydantic.SecretStr(KEY), open_api_key_file="key")


def test_what_is_said_for_this_server_comes_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("from-the-file\n")
    elsewhere = {"OPENAI_API_KEY": "for-another-server", "OPENAI_BASE_URL": "https://elsewhere.example/v1"}
    options = OpenApi.Options(open_api_key_file=str(tmp_path / "key"), open_api_base_url="http://127.0.0.1:1/v1")
    assert key_of(options, elsewhere) == "from-the-file"
    assert url_of(options, elsewhere) == "http://127.0.0.1:1/v1"
    assert key_of(OpenApi.Options(), elsewhere) == "for-another-server"
    assert url_of(OpenApi.Options(), elsewhere) == "https://elsewhere.example/v1"
    assert url_of(OpenApi.Options(), {}) is None


@pytest.mark.parametrize("content", ["", "\n \n", "two\nlines", "with space", "ключ", "x" * 5000])
def test_a_file_without_a_key_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(SettingsError, match=r"^open_api_key_file: ") as raised:
        key_of(OpenApi.Options(open_api_key_file=str(tmp_path / "key")), {})
    assert content.strip() == "" or content not in str(raised.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"can't read .*nowhere.*No such file"):
        key_of(OpenApi.Options(open_api_key_file=str(tmp_path / "nowhere")), {})


def test_a_bad_address_in_the_environment_is_refused_without_being_shown() -> None:
    with pytest.raises(SettingsError, match=r"^OPENAI_BASE_URL: ") as raised:
        url_of(OpenApi.Options(), {"OPENAI_BASE_URL": "http://me:secret@host/v1"})
    assert "secret" not in str(raised.value)


def test_a_bad_proxy_in_the_environment_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "not-a-scheme://me:secret@host")
    with pytest.raises(SettingsError, match="check HTTPS_PROXY") as raised:
        OpenApi(OpenApi.Options()).load()
    assert "secret" not in str(raised.value)
