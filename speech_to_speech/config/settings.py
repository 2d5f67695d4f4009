"""The settings of a service, parsed once, strict and frozen.

Where a value comes from, the first that has it: the command line (or the one `.json` file that replaces it), the
environment (`S2S_<NAME>`; some also without the prefix, see `aliases`), the profile, the default.
"""

import dataclasses
import difflib
import json
import os
import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types
import pydantic

from speech_to_speech.config.aliases import FLAGS, check_model_name, plain_settings
from speech_to_speech.config.profiles import PROFILES, defaults
from speech_to_speech.config.registry import NONE, STAGES, TURN, find, import_models, names, of_profile
from speech_to_speech.errors import BackendMissing, SettingsError
from speech_to_speech.languages import AUTO
from speech_to_speech.workers.model import WorkerKind

ENV_PREFIX = "S2S_"
TOKEN_VARIABLE = "S2S_API_TOKEN"  # the token has no flag, which would show in process lists

Positive = Annotated[float, annotated_types.Gt(0), annotated_types.Le(1e9)]
NotNegative = Annotated[float, annotated_types.Ge(0), annotated_types.Le(1e9)]
Count = Annotated[int, annotated_types.Ge(1)]
LanguageCode = Annotated[str, pydantic.AfterValidator(lambda code: _language(code))]
Words = Annotated[tuple[str, ...], pydantic.BeforeValidator(lambda v: _words(v) if isinstance(v, str) else v)]


def _language(code: str) -> str:
    if code != AUTO and not re.fullmatch("[a-z]{2,3}", code):
        raise ValueError(f"an ISO 639 code such as en, or {AUTO}, is expected")
    return code


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def setting(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Settings:
    """All settings but the options of the backends themselves, which are in `options`, by stage."""

    profile: str = setting("embedded", f"a named set of defaults: {', '.join(PROFILES)}")
    host: str = setting("127.0.0.1", "the address to listen on")
    port: Annotated[int, annotated_types.Interval(ge=0, le=65535)] = setting(8000, "the port; 0 takes a free one")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "how much is logged")
    allowed_origins: Words = setting((), "origins of browser pages that may connect, comma-separated; * allows all")
    models: Words = setting((), "modules that register backends of your own, comma-separated")

    vad: str = setting("silero", "voice activity detection backend")
    turn: str = setting("rules", "turn detection backend: how long to wait for the endpoint; or none")
    stt: str = setting("pocketsphinx", "speech to text backend")
    llm: str = setting("eliza", "language model backend")
    tts: str = setting("espeak", "text to speech backend")
    language: LanguageCode = setting("en", "the language spoken, as ISO 639 code; auto: the one heard")
    chat_size: Count = setting(2, "exchanges that the language model is shown")
    init_chat_prompt: str = setting(
        "You are a helpful voice assistant. Answer in one or two sentences.", "system prompt"
    )
    greeting: str = setting("", "said to every client before anybody has spoken; empty: nothing is")

    thresh: Annotated[float, annotated_types.Interval(gt=0, lt=1)] = setting(0.3, "probability that counts as speech")
    min_silence_ms: Positive = setting(250.0, "the endpoint wait: silence that ends an utterance, if nothing judges it")
    endpoint_min_ms: Positive = setting(200.0, "the endpoint wait after what the turn detector holds for complete")
    endpoint_max_ms: Positive = setting(1000.0, "the same after what it holds for a pause in mid-sentence")
    min_speech_ms: NotNegative = setting(500.0, "shorter utterances are discarded (counted with their silence)")
    max_speech_ms: Annotated[float, annotated_types.Ge(1000)] = setting(30_000.0, "longer utterances are split for STT")
    max_utterance_s: Positive = setting(600.0, "an utterance this long ends, whatever comes")
    speech_pad_ms: NotNegative = setting(500.0, "audio before the first speech that belongs to it")

    speculation: Literal["off", "stt", "full"] = setting(
        "full", "work before the endpoint: none, only speech to text (for a paid language model), or all of it"
    )
    soft_end_ms: Annotated[float, annotated_types.Ge(32)] = setting(96.0, "silence after which speculation begins")
    partial_interval_ms: NotNegative | None = setting(
        None, "how often an utterance is transcribed while it is spoken (0: never), instead of the backend's own choice"
    )
    barge_in_pause_ms: Positive = setting(128.0, "full duplex: so much speech over a reply pauses it")
    barge_in_ms: Positive = setting(500.0, "after so much, words that are no backchannel interrupt it in mid-speech")
    barge_in_max_ms: Positive = setting(1000.0, "so much speech interrupts it, whatever the words")
    echo_guard: bool = setting(True, "full duplex: take no notice of the reply's own echo")
    report_timeout_s: Positive = setting(5.0, "how often unpaced full duplex clients must report their playback")

    vad_timeout_s: Positive = setting(5.0, "deadline of a VAD batch")
    turn_timeout_s: Positive = setting(2.0, "deadline of a turn detector's judgement")
    stt_timeout_s: Positive = setting(20.0, "deadline of a transcript")
    llm_timeout_s: Positive = setting(20.0, "deadline of each token")
    tts_timeout_s: Positive = setting(20.0, "deadline of each piece of audio")
    vad_worker: WorkerKind | None = setting(None, "thread or process, instead of the backend's own choice")
    turn_worker: WorkerKind | None = setting(None, "the same for the turn detector")
    stt_worker: WorkerKind | None = setting(None, "the same for speech to text")
    llm_worker: WorkerKind | None = setting(None, "the same for the language model")
    tts_worker: WorkerKind | None = setting(None, "the same for text to speech")
    worker_memory_gb: Positive | None = setting(
        None, "bound of the memory of each model's process, in GB (Linux): by default half of the machine's"
    )
    turn_batch_limit: Count | None = setting(None, "requests in one call, instead of the backend's own limit")
    stt_batch_limit: Count | None = setting(None, "the same for speech to text")
    llm_batch_limit: Count | None = setting(None, "the same for the language model")
    tts_batch_limit: Count | None = setting(None, "the same for text to speech")

    lead_ms: NotNegative = setting(120.0, "how far the audio sent may be ahead of real time; at least two blocks")
    client_buffer_ms: NotNegative = setting(100.0, "playback delay of clients that DONE waits for, beside one block")

    max_sessions: Count = setting(256, "open conversations; further ones are closed with 1013")
    max_message_bytes: Annotated[int, annotated_types.Ge(4096)] = setting(262_144, "a longer message closes with 1009")
    bad_message_limit: Count = setting(3, "so many messages that are not audio end the session")
    idle_timeout_s: Positive = setting(120.0, "a session in which nothing comes from the client ends")
    session_timeout_s: Positive = setting(3600.0, "a session ends after this time")
    max_reply_s: Positive = setting(120.0, "a longer reply is cut there")
    send_timeout_s: Positive = setting(10.0, "a client that does not take a message in this time is disconnected")
    drain_timeout_s: Positive = setting(20.0, "how long replies in flight may go on when the service is stopped")

    options: Mapping[str, Any] = field(default_factory=dict, metadata={"internal": True})
    api_token: str | None = field(default=None, repr=False, metadata={"internal": True})

    def __post_init__(self) -> None:
        for row in (("endpoint_min_ms", "endpoint_max_ms"), ("barge_in_pause_ms", "barge_in_ms", "barge_in_max_ms")):
            values = [getattr(self, name) for name in row]
            if values != sorted(values):
                raise ValueError(f"{', '.join(row)}: none may be above the next, not {values}")

    @property
    def stages(self) -> tuple[str, ...]:
        """Those that have a model."""
        return STAGES if self.turn == NONE else (*STAGES, TURN)


FEW = 12  # languages that a message lists
NAMES = tuple(f.name for f in dataclasses.fields(Settings) if not f.metadata.get("internal"))


def load_settings(arguments: Sequence[str], environment: Mapping[str, str] | None = None) -> Settings:
    """The settings for a command line and an environment (that of the process by default).

    Raises:
        SettingsError: one line that names what is wrong and what is allowed.
    """
    environment = os.environ if environment is None else environment
    plain, models = plain_settings(environment)
    given: dict[str, Any] = plain | _own_names(_from_environment(environment))
    if len(arguments) == 1 and arguments[0].endswith(".json"):
        given |= _own_names(_from_json(Path(arguments[0])))
        flags = {}
    else:
        flags = _parse(arguments)
    given |= _own_names(flags)
    profile = given.get("profile", Settings.profile)
    if not isinstance(profile, str) or profile not in PROFILES:
        raise SettingsError(f"profile: unknown profile {profile!r}; there are {', '.join(PROFILES)}")
    language = _validate("language", LanguageCode, given.get("language", Settings.language))
    values = defaults(profile, language) | given
    import_models(_validate("models", Words, values.get("models", ())))
    chosen_names = {stage: str(values.get(stage, getattr(Settings, stage))) for stage in (*STAGES, TURN)}
    if chosen_names[TURN] == NONE:
        del chosen_names[TURN]
    try:
        option_types = {stage: _options_type(stage, name) for stage, name in chosen_names.items()}
    except BackendMissing as error:
        own = all(chosen_names[stage] == defaults(profile, language).get(stage) for stage in ("stt", "llm", "tts"))
        if own and (install := of_profile(profile)) and install not in str(error):
            raise BackendMissing(f"{error}; all that profile {profile} needs: {install}") from None
        raise
    allowed: dict[str, None] = dict.fromkeys(NAMES)
    for options_type in option_types.values():
        allowed |= {f.name: None for f in dataclasses.fields(options_type)}
    for name in given:
        if name not in allowed:
            raise SettingsError(_unknown(name, list(allowed)))
    for stage, model in models.items():
        option = _model_option(option_types[stage])
        check_model_name(stage, chosen_names[stage], option, model, getattr(option_types[stage], option or "", ""))
        if option is not None and option not in given:
            values[option] = model
    if language != AUTO:  # the voices load this language ahead
        ahead = (name for name in allowed if name.endswith("_languages"))
        values = dict.fromkeys(ahead, language) | values
    chosen = {name: value for name, value in values.items() if name in NAMES}
    settings: Settings = _construct(Settings, chosen)
    options = {
        stage: _construct(
            options_type, {f.name: values[f.name] for f in dataclasses.fields(options_type) if f.name in values}
        )
        for stage, options_type in option_types.items()
    }
    settings = dataclasses.replace(settings, options=options, api_token=_token(environment))
    _check_language(settings)
    return settings


def describe(settings: Settings) -> str:
    """A help text: every setting of the service and of the chosen backends, and its value as it stands."""
    lines = []
    for f in dataclasses.fields(Settings):
        if not f.metadata.get("internal"):
            choices = f" ({', '.join(names(f.name))})" if f.name in (*STAGES, TURN) else ""
            lines.append(f"  --{f.name:<20} {f.metadata['help']}{choices}: {_shown(getattr(settings, f.name))}")
    for stage in settings.stages:
        backend = f"{stage} {getattr(settings, stage)}"
        for f in dataclasses.fields(settings.options[stage]):
            text = f"{backend}: {f.metadata.get('help', 'its own option')}"
            lines.append(f"  --{f.name:<20} {text}: {_shown(getattr(settings.options[stage], f.name))}")
    lines.append(f"\nEach is also {ENV_PREFIX}<NAME> in the environment; the service's token only {TOKEN_VARIABLE}.")
    return "\n".join(lines)


def _token(environment: Mapping[str, str]) -> str | None:
    token = environment.get(TOKEN_VARIABLE, "")
    if not (token.isascii() and token.isprintable() and token == token.strip()):
        raise SettingsError(f"{TOKEN_VARIABLE}: printable ASCII is expected, with no space at its ends")
    return token or None


def _shown(default: object) -> str:
    return "none" if default is None or default == () else str(default)


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for variable, value in environment.items():
        if variable.startswith(ENV_PREFIX) and variable != TOKEN_VARIABLE:
            given[variable.removeprefix(ENV_PREFIX).lower()] = value
    return given


def _own_names(values: Mapping[str, Any]) -> dict[str, Any]:
    return {FLAGS.get(name, name): value for name, value in values.items()}


def _from_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SettingsError(f"can't read settings from {path}: {error}") from error
    if not isinstance(values, dict):
        raise SettingsError(f"{path}: a JSON object of settings is expected")
    return values


def _parse(arguments: Sequence[str]) -> dict[str, str]:
    """`--name value` and `--name=value`, as strings; which names there are is known only when the backends are."""
    values: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):  # the message does not show the argument, which may be a key
            raise SettingsError(f"unexpected argument after {len(values)} settings; they are given as --name value")
        if not equals:
            if not waiting:
                raise SettingsError(f"--{name} needs a value")
            value = waiting.pop(0)
        values[name.replace("-", "_")] = value
    return values


def _options_type(stage: str, name: str) -> type:
    options: type = find(stage, name).model_class().Options
    return options


def _model_option(options_type: Any) -> str | None:
    """The option that names a backend's model, if it has one."""
    return next((f.name for f in dataclasses.fields(options_type) if f.name.endswith("model_name")), None)


def languages_of(model_class: Any, options: Any) -> frozenset[str] | None:
    """The languages that a backend knows with these options; None: any."""
    if hasattr(model_class, "languages_with"):
        known: frozenset[str] | None = model_class.languages_with(options)
        return known
    return getattr(model_class, "languages", None)


def _check_language(settings: Settings) -> None:
    """Refuse a fixed language that a chosen backend does not know."""
    for stage in ("stt", "llm", "tts"):
        backend = find(stage, getattr(settings, stage))
        known = languages_of(backend.model_class(), settings.options[stage])
        if known is not None and settings.language not in (*known, AUTO):
            some = ", ".join(sorted(known)[:FEW]) + (f" and {len(known) - FEW} more" if len(known) > FEW else "")
            raise SettingsError(f"language: {stage} {backend.name} knows {some}, but not {settings.language!r}")


def _construct(kind: Any, values: Mapping[str, Any]) -> Any:
    """A dataclass from values that may be strings; the types of its fields say what they become."""
    types = typing.get_type_hints(kind, include_extras=True)
    validated = {name: _validate(name, types[name], value) for name, value in values.items()}
    try:
        return kind(**validated)
    except ValueError as error:  # a backend's options check their own ranges
        raise SettingsError(str(error)) from error


def _validate(name: str, kind: Any, value: Any) -> Any:
    try:
        # A true or false of a JSON file is no number.
        return pydantic.TypeAdapter(kind).validate_python(value, strict=isinstance(value, bool))
    except pydantic.ValidationError as error:
        problems = " or ".join(dict.fromkeys(map(_problem, error.errors())))
        shown = "" if "Secret" in str(kind) else f", not {value!r}"
        raise SettingsError(f"{name}: {problems}{shown}") from None


def _problem(error: Mapping[str, Any]) -> str:
    own = error.get("ctx", {}).get("error")  # the error that a validator has raised
    return str(own) if own is not None else error["msg"].lower()


def _unknown(name: str, allowed: list[str]) -> str:
    close = difflib.get_close_matches(name, allowed, 1)
    hint = f" (did you mean --{close[0]}?)" if close else ""
    return f"unknown option --{name}{hint}; there are {', '.join('--' + name for name in sorted(allowed))}"
