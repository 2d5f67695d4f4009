"""Which backends there are. A backend is one file and one line of `BACKENDS`.

A backend of the user's own is a class in a module that the setting `models` names:

    @register_model("stt", "my_model")
    class MyModel: ...
"""

import contextlib
import dataclasses
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from speech_to_speech.errors import BackendMissing, SettingsError
from speech_to_speech.workers.environments.environment import Environment
from speech_to_speech.workers.model import import_target

STAGES = ("vad", "stt", "llm", "tts")
TURN = "turn"  # the turn detector, which a service may do without
NONE = "none"

CHECKOUT = (Path(__file__).parents[2] / "Makefile").exists()
# The variables name what a container's image has. They are set where the image is built.
IMAGE = os.environ.get("IMAGE_EXTRAS")
IMAGE_ENVIRONMENTS = os.environ.get("IMAGE_ENVIRONMENTS", "")
SILERO = "make install" if CHECKOUT else "pip install --no-deps silero-vad"
CPU = ("CPU",)
CPU_CUDA = ("CPU", "CUDA")
TORCH = ("CPU", "CUDA", "MPS")
APACHE = "Apache-2.0"


def extra(name: str) -> str:
    """The command that installs an extra of pyproject.toml: in a checkout, with versions that go together.

    Into an image nothing can be installed; there it is the one that makes another.
    """
    if IMAGE is not None:
        return f"make image EXTRAS={','.join(_with(IMAGE.split(','), name))}"
    if CHECKOUT:
        return "make install" if name == "embedded" else f"make install-{name}"
    return f"pip install 'speech-to-speech-service[{name}]'"


def _with(names: Iterable[str], name: str) -> list[str]:
    return [*(other for other in names if other not in ("", name)), name]


def extra_and_environment(name: str) -> str:
    """The same where a backend has an environment of its own, which make makes along."""
    if IMAGE is not None:
        return f'{extra(name)} ENVIRONMENTS="{" ".join(_with(IMAGE_ENVIRONMENTS.split(), name))}"'
    return extra(name) if CHECKOUT else f"{extra(name)} && speech-to-speech env create {name}"


def of_profile(name: str) -> str | None:
    """The command that installs all that a profile needs; None if no extra has its name."""
    if name not in ("cpu", "embedded", "l4", "tiny"):
        return None
    if IMAGE is not None:
        own = {"embedded": "make image-cpu", "l4": "make image"}
        return own.get(name, f"make image EXTRAS={name} ENVIRONMENTS= PROFILE={name}")
    return extra(name)


def requirements_of(name: str) -> str:
    """The file of pinned packages of one of our own environments."""
    return str(Path(__file__).parents[1] / "workers" / "environments" / f"{name}.txt")


@dataclass(frozen=True)
class Backend:
    """A model that can be chosen by name: its class as `module:Class`, the packages it imports, how to install them.

    A backend that can't be installed beside the others names `requirements`, a file of pinned packages, instead: it
    runs in an environment and a process of its own (`workers.environments`).

    The rest is for people who choose: the devices it runs on, the licence of its code, that of the weights if they
    have another, and the checkpoint it loads by default, if its options don't say.
    """

    stage: str
    name: str
    target: str
    needs: tuple[str, ...] = ()
    install: str = ""
    runs_on: tuple[str, ...] = ()
    licence: str = ""
    weights_licence: str = ""
    checkpoint: str = ""
    requirements: str = ""

    @property
    def environment(self) -> Environment | None:
        """Where it runs, if not in the service's own environment."""
        return Environment.of(self.requirements) if self.requirements else None

    @property
    def installed(self) -> bool:
        return not self.missing and (self.environment is None or self.environment.state == "ready")

    @property
    def missing(self) -> tuple[str, ...]:
        """The packages it needs that are not installed; none of them is imported to find out."""
        return tuple(package for package in self.needs if importlib.util.find_spec(package) is None)

    def model_class(self) -> Any:
        """The backend's class.

        Raises:
            BackendMissing: its packages are not installed, or its environment was not made.
        """
        if self.missing:
            raise BackendMissing(f"{self.stage} {self.name} needs {', '.join(self.missing)}: {self.install}")
        if self.environment is not None and (problem := self.environment.problem) is not None:
            problem = problem if IMAGE is None else f"the image was made without its environment: {self.install}"
            raise BackendMissing(f"{self.stage} {self.name}: {problem}")
        return import_target(self.target)


BACKENDS: dict[tuple[str, str], Backend] = {
    (backend.stage, backend.name): backend
    for backend in (
        Backend("vad", "silero", "speech_to_speech.vad.silero:SileroVad", ("silero_vad",), SILERO, CPU, "MIT"),
        Backend("turn", "rules", "speech_to_speech.turn.rules.backend:RulesDetector", runs_on=CPU, licence=APACHE),
        Backend(
            "turn",
            "smart_turn",
            "speech_to_speech.turn.smart_turn.backend:SmartTurn",
            runs_on=CPU,
            licence=APACHE,
            weights_licence="BSD-2-Clause",
            checkpoint="pipecat-ai/smart-turn-v3",
        ),
        Backend(
            "stt",
            "whisper",
            "speech_to_speech.stt.whisper.backend:Whisper",
            ("torch", "transformers"),
            extra("transformers"),
            TORCH,
            APACHE,
            "MIT",
        ),
        Backend(
            "stt",
            "faster-whisper",
            "speech_to_speech.stt.faster_whisper.backend:FasterWhisper",
            ("faster_whisper",),
            extra("faster-whisper"),
            CPU_CUDA,
            "MIT",
        ),
        Backend(
            "stt",
            "pocketsphinx",
            "speech_to_speech.stt.pocketsphinx:PocketSphinx",
            ("pocketsphinx",),
            extra("embedded"),
            CPU,
            "BSD-2-Clause",
        ),
        Backend("stt", "loadtest", "speech_to_speech.loadtest:LoadtestStt", runs_on=CPU, licence=APACHE),
        Backend(
            "llm",
            "transformers",
            "speech_to_speech.llm.transformers.backend:TransformersLlm",
            ("torch", "transformers", "accelerate"),
            extra("transformers"),
            TORCH,
            APACHE,
        ),
        Backend(
            "llm",
            "open_api",
            "speech_to_speech.llm.open_api.backend:OpenApi",
            ("openai",),
            extra("openai"),
            ("any server",),
            APACHE,
            "the server's",
        ),
        Backend("llm", "eliza", "speech_to_speech.llm.eliza:Eliza", ("nltk",), extra("embedded"), CPU, APACHE),
        Backend("llm", "loadtest", "speech_to_speech.loadtest:LoadtestLlm", runs_on=CPU, licence=APACHE),
        Backend(
            "tts",
            "kokoro",
            "speech_to_speech.tts.kokoro.backend:Kokoro",
            ("kokoro",),
            extra("kokoro"),
            TORCH,
            "Apache-2.0 and GPL-3.0",
            APACHE,
        ),
        Backend(
            "tts",
            "facebookMMS",
            "speech_to_speech.tts.mms.backend:FacebookMms",
            ("torch", "transformers"),
            extra("mms"),
            TORCH,
            APACHE,
            "CC-BY-NC-4.0",
            "facebook/mms-tts-eng",
        ),
        Backend(
            "tts",
            "espeak",
            "speech_to_speech.tts.espeak:ESpeak",
            ("espeakng_loader",),
            extra("embedded"),
            CPU,
            "GPL-3.0",
        ),
        Backend(
            "tts",
            "parler",
            "speech_to_speech.tts.parler.backend:Parler",
            needs=("huggingface_hub",),
            install=extra_and_environment("parler"),
            runs_on=TORCH,
            licence=APACHE,
            requirements=requirements_of("parler"),
        ),
        Backend(
            "tts",
            "melo",
            "speech_to_speech.tts.melo.backend:Melo",
            install=extra_and_environment("melo"),
            runs_on=TORCH,
            licence="MIT",
            requirements=requirements_of("melo"),
        ),
        Backend("tts", "loadtest", "speech_to_speech.loadtest:LoadtestTts", runs_on=CPU, licence=APACHE),
    )
}


@contextlib.contextmanager
def all_installed() -> Iterator[None]:
    """Backends can be chosen, and their options read, though what they need is on another machine."""
    before = dict(BACKENDS)
    BACKENDS.update({key: dataclasses.replace(backend, needs=(), requirements="") for key, backend in before.items()})
    try:
        yield
    finally:
        BACKENDS.update(before)


Class = TypeVar("Class", bound=type)


def register_model(
    stage: str,
    name: str,
    *,
    runs_on: tuple[str, ...] = (),
    licence: str = "",
    weights_licence: str = "",
    checkpoint: str = "",
    requirements: str = "",
) -> Callable[[Class], Class]:
    """Make the decorated class a backend of `stage` (vad, turn, stt, llm or tts), to be chosen by `name`.

    `requirements` is a file of pinned packages, if it needs an environment of its own; its module may then import
    nothing at its top but the standard library, `speech_to_speech.frames` and `.errors`.

    The rest is for the table of `speech-to-speech models`, and may be left out.
    """
    if stage not in (*STAGES, TURN):
        raise SettingsError(f"unknown stage {stage!r}; there are {', '.join((*STAGES, TURN))}")

    def register(model: Class) -> Class:
        BACKENDS[stage, name] = Backend(
            stage,
            name,
            f"{model.__module__}:{model.__qualname__}",
            runs_on=runs_on,
            licence=licence,
            weights_licence=weights_licence,
            checkpoint=checkpoint,
            requirements=requirements,
            install=f"speech-to-speech env create {Path(requirements).stem}" if requirements else "",
        )
        return model

    return register


def import_models(modules: Iterable[str]) -> None:
    """Import the user's modules, from the working directory too, so that their backends register.

    Raises:
        SettingsError: a module can't be imported.
    """
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # the user's code may raise anything
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            raise SettingsError(f"models: can't import {module!r}: {problem}") from error


def names(stage: str) -> list[str]:
    return sorted(name for of_stage, name in BACKENDS if of_stage == stage)


def find(stage: str, name: str) -> Backend:
    """The backend of that name.

    Raises:
        SettingsError: there is none; the message names those there are.
    """
    try:
        return BACKENDS[stage, name]
    except KeyError:
        raise SettingsError(f"{stage}: unknown backend {name!r}; there are {', '.join(names(stage))}") from None
