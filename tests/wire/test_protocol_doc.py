"""docs/protocol.md against the code."""

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

from speech_to_speech import errors
from speech_to_speech.config.registry import STAGES
from speech_to_speech.config.settings import NAMES
from speech_to_speech.conversation.events import Error, Event, TurnEnded
from speech_to_speech.conversation.turn_record import Outcome, TurnRecord
from speech_to_speech.errors import (
    BackendMissing,
    HandshakeRefused,
    RequestRefused,
    SettingsError,
    SpeechToSpeechError,
)
from speech_to_speech.frames import SAMPLE_RATE_HZ
from speech_to_speech.vad.base import WINDOW_SAMPLES
from speech_to_speech.wire.ws.messages import (
    BITRATES_KBPS,
    DONE,
    LONGEST_BLOCK_MS,
    SHORTEST_BLOCK_MS,
    UNTOLD,
    Codec,
    StreamOptions,
    decode_query,
    encode_event,
    event_type,
)
from speech_to_speech.wire.ws.refusals import CLOSE_CODES, STATUSES, close_of

DOC = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
EVENTS = {event_type(event): event for event in get_args(Event) if event not in UNTOLD}


def table(*header: str) -> list[list[str]]:
    """The rows of the one table with this header."""
    found = re.findall(rf"^\| {re.escape(' | '.join(header))} \|\n\|[-|]+\|\n((?:\|.*\|\n?)+)", DOC, re.MULTILINE)
    assert len(found) == 1, header
    rows = [[cell.strip() for cell in row.strip("|").split("|")] for row in found[0].strip().splitlines()]
    assert {len(row) for row in rows} == {len(header)}
    return rows


def names_in(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def concrete(base: type[SpeechToSpeechError]) -> Iterator[type[SpeechToSpeechError]]:
    """Every error that is raised as itself: those with a code of their own."""
    for error in base.__subclasses__():
        yield from concrete(error)
        if "code" in vars(error):
            yield error


HANDSHAKE = {error.code: error for error in concrete(HandshakeRefused)}
UNKNOWN_HERE = (SettingsError, HandshakeRefused, RequestRefused)
"""Of the command line, of the handshake, and of requests that `/ws` has not."""
ON_THE_WIRE = {error.code: error for error in concrete(SpeechToSpeechError) if not issubclass(error, UNKNOWN_HERE)}


def example(event: type) -> Event:
    """An event with something in every field."""
    if event is TurnEnded:
        return TurnEnded(TurnRecord("session", "turn"))
    values = {"str": "x", "float": 1.0, "bool": False, "int": 1, "str | None": None}
    fields = {
        field.name: values[getattr(field.type, "__name__", str(field.type))] for field in dataclasses.fields(event)
    }
    made: Event = event(**fields)
    return made


def in_query(value: bool | int | str) -> str:
    return str(int(value) if isinstance(value, bool) else value)


# Handshake.


def test_the_query_parameters_and_their_defaults_are_those_of_the_code() -> None:
    rows = table("query parameter", "values", "default", "meaning")
    documented = {names_in(name)[0]: names_in(default)[0] for name, _, default, _ in rows}
    assert documented == {field.name: in_query(field.default) for field in dataclasses.fields(StreamOptions)}


def test_every_documented_query_value_is_understood() -> None:
    for name, values, _, _ in table("query parameter", "values", "default", "meaning"):
        (parameter,) = names_in(name)
        codec = [("codec", "mp3")] if parameter == "bitrate_kbps" else []
        understood = [getattr(decode_query([*codec, (parameter, value)]), parameter) for value in names_in(values)]
        assert [in_query(value) for value in understood] == names_in(values)


def test_the_bitrates_and_codecs_are_those_of_the_code() -> None:
    documented = {
        names_in(name)[0]: names_in(values)
        for name, values, _, _ in table("query parameter", "values", "default", "meaning")
    }
    assert documented["codec"] == [*get_args(Codec)]
    assert documented["bitrate_kbps"] == [str(kbps) for kbps in BITRATES_KBPS]


def test_the_handshake_statuses_are_those_of_the_code() -> None:
    documented = [int(status) for status, _ in table("status", "when")]
    assert documented == sorted(STATUSES.values())


def test_the_handshake_errors_are_those_of_the_code() -> None:
    documented = {names_in(code)[0]: int(status) for code, status in table("code", "status")}
    assert documented == {code: STATUSES[error] for code, error in HANDSHAKE.items()}  # type: ignore[index]


# Audio.


def test_the_audio_format_is_that_of_the_code() -> None:
    assert f"PCM at {SAMPLE_RATE_HZ // 1000} kHz" in DOC
    assert f"a {WINDOW_SAMPLES}-sample window" in DOC
    assert f"between {SHORTEST_BLOCK_MS} and {LONGEST_BLOCK_MS} ms" in DOC
    assert f"the four bytes `{DONE.decode()}`" in DOC


# Events.


def test_every_event_is_documented() -> None:
    assert [names_in(event)[0] for event, _, _ in table("type", "fields", "meaning")] == list(EVENTS)


@pytest.mark.parametrize("name", EVENTS)
def test_the_fields_of_an_event_are_those_of_the_code(name: str) -> None:
    encoded = json.loads(encode_event(example(EVENTS[name])))
    assert encoded.pop("type") == name
    (fields,) = [fields for event, fields, _ in table("type", "fields", "meaning") if names_in(event) == [name]]
    if name == "turn_ended":
        assert fields == "see below"
        (below,) = re.findall(r"^`turn_ended` has (.+?)\n\n", DOC, re.MULTILINE | re.DOTALL)
        told = {*get_args(Outcome)} - {"cancelled"}  # then nobody is left to be told
        assert set(names_in(below)) == {*encoded, *told, "null"}
    else:
        assert names_in(fields) == list(encoded)


def test_the_stages_of_an_error_are_those_of_the_code() -> None:
    (meaning,) = [meaning for event, _, meaning in table("type", "fields", "meaning") if names_in(event) == ["error"]]
    assert names_in(meaning) == ["stage", *STAGES, "null"]


# Errors.


def test_every_error_has_a_row_and_every_row_an_error() -> None:
    documented = [names_in(code) for code, _, _, _ in table("code", "close", "retryable", "when")]
    assert sorted(documented) == sorted([code] for code in ON_THE_WIRE)


@pytest.mark.parametrize("code", ON_THE_WIRE)
def test_the_row_of_an_error_is_that_of_the_code(code: str) -> None:
    error = ON_THE_WIRE[code]
    (row,) = [row for row in table("code", "close", "retryable", "when") if names_in(row[0]) == [code]]
    assert row[1] == str(CLOSE_CODES.get(error, "-"))
    assert row[2] == ("yes" if error.retryable else "no")
    assert row[3]


def test_every_error_of_the_code_is_for_the_wire_the_handshake_or_the_command_line() -> None:
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, SpeechToSpeechError) and "code" in vars(value)
    }
    elsewhere = {SpeechToSpeechError, SettingsError, BackendMissing, *concrete(RequestRefused)}
    assert defined == {*elsewhere, *ON_THE_WIRE.values(), *HANDSHAKE.values()}


def test_no_two_errors_share_a_code() -> None:
    codes = [error.code for error in concrete(SpeechToSpeechError)]
    assert sorted(codes) == sorted(set(codes))


def test_settings_named_in_the_error_table_exist() -> None:
    named = {name for *_, when in table("code", "close", "retryable", "when") for name in names_in(when)}
    assert named
    assert named <= {*NAMES}


@pytest.mark.parametrize("code", [code for code, error in ON_THE_WIRE.items() if error in CLOSE_CODES])
def test_a_close_has_the_documented_code_and_a_reason_that_fits(code: str) -> None:
    error = ON_THE_WIRE[code]("ü" * 200)
    close_code, reason = close_of(error)
    assert close_code == CLOSE_CODES[type(error)]
    assert reason.startswith(f"{code}: ")
    assert len(reason.encode()) <= 123


def test_every_error_that_ends_a_session_has_its_own_close_code() -> None:
    bad_messages = set(concrete(errors.BadMessage))  # they end it when they go on
    assert {error for error in ON_THE_WIRE.values() if error.ends_session} | bad_messages == set(CLOSE_CODES)


def test_a_defect_is_told_without_details() -> None:
    event = Error.of(RuntimeError("secret"), "turn")
    assert (event.code, event.stage, event.turn_id, event.retryable) == ("internal", None, "turn", False)
    assert "secret" not in event.message
