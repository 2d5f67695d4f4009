"""Names that users of other speech to speech services know: flags, and environment variables without a prefix."""

from collections.abc import Mapping

from speech_to_speech.config.registry import BACKENDS, names
from speech_to_speech.errors import SettingsError

FLAGS = {
    "open_api_chat_size": "chat_size",
    "open_api_init_chat_prompt": "init_chat_prompt",
    "faster_whisper_stt_gen_language": "language",
    "tts_language": "language",
    "melo_language": "language",
}
# The value of a variable is a backend's name or, for a backend that is chosen elsewhere, a model's name.
MODELS = {"ASR_MODEL": "stt", "LLM_MODEL": "llm", "LM_MODEL_NAME": "llm", "TTS_MODEL": "tts"}
PLAIN = {"PROFILE": "profile", "HOST": "host", "PORT": "port", "CHAT_SIZE": "chat_size"}
PRESETS = {
    "phi3": ("transformers", "microsoft/Phi-3-mini-4k-instruct"),
    "llama": ("transformers", "meta-llama/Meta-Llama-3.1-8B-Instruct"),
    "gpt4omini": ("open_api", "gpt-4o-mini"),
}


def plain_settings(environment: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Settings by name, and model names by stage, that the environment has without a prefix.

    Raises:
        SettingsError: two variables want different models for one stage.
    """
    settings = {name: environment[variable] for variable, name in PLAIN.items() if environment.get(variable)}
    models: dict[str, str] = {}
    for variable, stage in MODELS.items():
        value = environment.get(variable)
        if not value:
            continue
        if stage == "llm" and value in PRESETS:
            settings[stage], model = PRESETS[value]
        elif (stage, value) in BACKENDS:
            settings[stage] = value
            continue
        else:
            model = value
        if models.setdefault(stage, model) != model:
            raise SettingsError(f"{variable}: {models[stage]!r} is chosen already, by another variable")
    return settings, models


def check_model_name(stage: str, backend: str, option: str | None, model: str, default: object) -> None:
    """Refuse what is neither a backend nor can be a model of the chosen one.

    Raises:
        SettingsError: the message names the backends there are.
    """
    takes_any = option is not None and not ("/" in str(default) and "/" not in model)
    if not takes_any:
        known = ", ".join([*names(stage), *(PRESETS if stage == "llm" else ())])
        raise SettingsError(f"{stage}: {model!r} is no backend ({known}), and no model that {backend} could load")
