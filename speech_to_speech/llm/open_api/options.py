"""The options of `llm open_api`, and where its key comes from."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pydantic

from speech_to_speech.errors import SettingsError

logger = logging.getLogger(__name__)

KEY_VARIABLE = "OPENAI_API_KEY"
URL_VARIABLE = "OPENAI_BASE_URL"
LONGEST_KEY = 4096  # characters
COMPLETIONS = "/chat/completions"


@dataclass(frozen=True)
class OpenApiOptions:
    open_api_model_name: str = field(default="deepseek-chat", metadata={"help": "the model, as the server calls it"})
    open_api_user_role: str = field(default="user", metadata={"help": "what the server calls the user's role"})
    open_api_init_chat_role: str = field(default="system", metadata={"help": "and the role of the system prompt"})
    open_api_api_key: pydantic.SecretStr | None = field(
        default=None,
        repr=False,
        metadata={"help": f"the key; it shows in process lists, so better {KEY_VARIABLE} or open_api_key_file"},
    )
    open_api_key_file: str | None = field(default=None, metadata={"help": "a file with nothing but the key in it"})
    open_api_base_url: str | None = field(
        default=None, metadata={"help": f"the server, as http://127.0.0.1:8000/v1; else {URL_VARIABLE} or OpenAI's own"}
    )
    open_api_stream: bool = field(
        default=False,
        metadata={"help": "take the answer as it is made; without, its first sound waits for its last word"},
    )
    open_api_max_tokens: int | None = field(
        default=None, metadata={"help": "longest answer, thoughts included; the server's own limit if not given"}
    )
    open_api_temperature: float | None = field(default=None, metadata={"help": "0 to 2; the server's own if not given"})
    open_api_connect_timeout_s: float = field(default=5.0, metadata={"help": "deadline of a connection"})
    open_api_first_token_timeout_s: float = field(
        default=15.0, metadata={"help": "deadline of an answer's first text, retries included; below llm_timeout_s"}
    )
    open_api_token_timeout_s: float = field(default=10.0, metadata={"help": "deadline of each further text"})
    open_api_retries: int = field(
        default=2, metadata={"help": "how often to ask again, before the first text, after failures that may pass"}
    )

    def __post_init__(self) -> None:
        for name in ("open_api_model_name", "open_api_user_role", "open_api_init_chat_role"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: a name is expected")
        for name in ("open_api_connect_timeout_s", "open_api_first_token_timeout_s", "open_api_token_timeout_s"):
            if not 0 < getattr(self, name) <= 3600:
                raise ValueError(f"{name}: above 0 and up to 3600 seconds are allowed, not {getattr(self, name)}")
        if not 0 <= self.open_api_retries <= 10:
            raise ValueError(f"open_api_retries: 0 to 10 is allowed, not {self.open_api_retries}")
        if self.open_api_max_tokens is not None and self.open_api_max_tokens < 1:
            raise ValueError(f"open_api_max_tokens: 1 and more is allowed, not {self.open_api_max_tokens}")
        if self.open_api_temperature is not None and not 0 <= self.open_api_temperature <= 2:
            raise ValueError(f"open_api_temperature: 0 to 2 is allowed, not {self.open_api_temperature}")
        if self.open_api_base_url is not None:
            _check_url("open_api_base_url", self.open_api_base_url)
        if self.open_api_api_key is not None and self.open_api_key_file is not None:
            raise ValueError("open_api_api_key, open_api_key_file: only one of them can be given")


def key_of(options: OpenApiOptions, environment: Mapping[str, str]) -> str | None:
    """The key for the server; None if there is none, as for a local one.

    What is said for this server comes before what is in the environment, perhaps for another one.

    Raises:
        SettingsError: the file can't be read, or what is there can't be a key.
    """
    if options.open_api_key_file is not None:
        source = "open_api_key_file"
        try:
            with Path(options.open_api_key_file).open(encoding="utf-8", errors="replace") as file:
                key = file.read(LONGEST_KEY + 2)
        except OSError as error:
            raise SettingsError(f"{source}: can't read {options.open_api_key_file!r}: {error.strerror}") from error
        if not key.strip():
            raise SettingsError(f"{source}: there is no key in {options.open_api_key_file!r}")
    elif options.open_api_api_key is not None:
        source = "open_api_api_key"
        key = options.open_api_api_key.get_secret_value()
        logger.warning(
            "%s: if it was given on the command line, the key shows in process lists; use %s", source, KEY_VARIABLE
        )
    else:
        source = KEY_VARIABLE
        key = environment.get(KEY_VARIABLE, "")
    key = key.strip()
    if not (key.isascii() and key.isprintable() and " " not in key and len(key) <= LONGEST_KEY):
        raise SettingsError(f"{source}: one line of printable ASCII without spaces is expected")
    return key or None


def url_of(options: OpenApiOptions, environment: Mapping[str, str]) -> str | None:
    """The server's address; None for OpenAI's own.

    Raises:
        SettingsError: the one in the environment is none.
    """
    if options.open_api_base_url is not None:
        return options.open_api_base_url
    url = environment.get(URL_VARIABLE)
    if not url:
        return None
    try:
        _check_url(URL_VARIABLE, url)
    except ValueError as error:
        raise SettingsError(str(error)) from None
    return url


def _check_url(source: str, url: str) -> None:
    """Refuse what can't be a server's address. The message does not repeat it: there may be a password in it."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment:
        raise ValueError(f"{source}: an address like http://127.0.0.1:8000/v1 is expected")
    if parts.username is not None or parts.password is not None:
        raise ValueError(f"{source}: no user name or password may be in it; a key goes into open_api_key_file")
    if parts.path.rstrip("/").endswith(COMPLETIONS):
        raise ValueError(f"{source}: leave {COMPLETIONS} out, it is added to the address")
