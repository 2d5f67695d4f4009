"""Named sets of settings. A profile is only defaults: any flag or environment variable overrides it."""

from pathlib import Path

# A flag may choose another backend than a profile's own, so the devices of all are here.
ON_CPU: dict[str, object] = {
    "stt_device": "cpu",
    "faster_whisper_stt_device": "cpu",
    "lm_device": "cpu",
    "facebook_mms_device": "cpu",
    "kokoro_device": "cpu",
    "melo_device": "cpu",
    "tts_device": "cpu",
}
# Models of the real classes, trained on a few phrases (scripts/make_tiny_models.py).
TINY = Path(__file__).parents[2] / "tiny_models"

PROFILES: dict[str, dict[str, object]] = {
    # No download, no torch: for the first try and for tests.
    "embedded": {"stt": "pocketsphinx", "llm": "eliza", "tts": "espeak"},
    # Real VAD, models replaced by stand-ins that cost nothing: for load tests.
    "loadtest": {
        "stt": "loadtest",
        "llm": "loadtest",
        "tts": "loadtest",
        "turn": "none",
        "min_silence_ms": 200,
        "max_sessions": 512,
    },
    # The torch path, with models so small that they are part of the repository.
    "tiny": {
        **ON_CPU,
        "stt": "whisper",
        "stt_model_name": str(TINY / "whisper"),
        "llm": "transformers",
        "lm_model_name": str(TINY / "llama"),
        "tts": "espeak",
    },
    # A laptop, or a server without a GPU.
    "cpu": {
        **ON_CPU,
        "stt": "faster-whisper",
        "faster_whisper_stt_model_name": "base",
        "faster_whisper_stt_compute_type": "int8",
        "llm": "transformers",
        "lm_model_name": "HuggingFaceTB/SmolLM2-360M-Instruct",
        "tts": "kokoro",
    },
    # One NVIDIA L4 with 24 GB.
    "l4": {
        "stt": "whisper",
        "stt_model_name": "distil-whisper/distil-large-v3",
        "stt_device": "cuda",
        "llm": "transformers",
        "lm_model_name": "meta-llama/Meta-Llama-3.1-8B-Instruct",
        "lm_device": "cuda",
        "tts": "melo",
        "melo_device": "cuda",
        "chat_size": 10,
        "partial_interval_ms": 500,
    },
}
# These settings are for people who speak another language than English, or any language.
MULTILINGUAL: dict[str, dict[str, object]] = {"l4": {"stt_model_name": "openai/whisper-large-v3-turbo"}}


def defaults(profile: str, language: str) -> dict[str, object]:
    """The settings of a profile for a language."""
    return PROFILES[profile] | (MULTILINGUAL.get(profile, {}) if language != "en" else {})
