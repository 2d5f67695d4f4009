"""Named sets of settings. A profile is only defaults: any flag or environment variable overrides it."""

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
}
