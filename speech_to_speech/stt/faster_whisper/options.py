"""The options of `stt faster-whisper`."""

import re
from dataclasses import dataclass, field

COMPUTE_TYPES = (
    "auto",
    "default",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
)
TASKS = ("transcribe", "translate")
DEVICE = re.compile(r"(auto|cpu|cuda)(?::(\d+))?")
PROMPT_TOKENS = 4
MOST_TOKENS = 448 - PROMPT_TOKENS  # the most tokens that a Whisper can write
MOST_BEAMS = 16
MOST_THREADS = 64
DEFAULT_THREADS = 4


@dataclass(frozen=True)
class FasterWhisperOptions:
    faster_whisper_stt_model_name: str = field(
        default="tiny.en",
        metadata={"help": "a size (base, small.en, large-v3-turbo), a converted Whisper on the hub, or a folder"},
    )
    faster_whisper_stt_device: str = field(default="auto", metadata={"help": "cpu, cuda, cuda:1 or auto"})
    faster_whisper_stt_compute_type: str = field(
        default="auto", metadata={"help": f"{', '.join(COMPUTE_TYPES)}; auto is the fastest of the device"}
    )
    faster_whisper_stt_cpu_threads: int = field(
        default=0, metadata={"help": f"threads on a CPU; 0 for as many as it has cores, {DEFAULT_THREADS} at most"}
    )
    faster_whisper_stt_gen_max_new_tokens: int = field(
        default=128, metadata={"help": f"longest text of 30 s of speech, in tokens, up to {MOST_TOKENS}"}
    )
    faster_whisper_stt_gen_beam_size: int = field(default=1, metadata={"help": f"beams, up to {MOST_BEAMS}"})
    faster_whisper_stt_gen_return_timestamps: bool = field(
        default=False, metadata={"help": "let the model tell times, which the text does not show"}
    )
    faster_whisper_stt_gen_task: str = field(
        default="transcribe", metadata={"help": "transcribe, or translate what is said into English"}
    )

    def __post_init__(self) -> None:
        if not self.faster_whisper_stt_model_name.strip():
            raise ValueError("faster_whisper_stt_model_name: the name of a model or a folder is expected")
        match = DEVICE.fullmatch(self.faster_whisper_stt_device)
        if match is None or (match[2] and match[1] != "cuda"):
            allowed = "auto, cpu, cuda or cuda:1 is allowed"
            raise ValueError(f"faster_whisper_stt_device: {allowed}, not {self.faster_whisper_stt_device!r}")
        for name, choices in (
            ("faster_whisper_stt_compute_type", COMPUTE_TYPES),
            ("faster_whisper_stt_gen_task", TASKS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}: there are {', '.join(choices)}, not {getattr(self, name)!r}")
        for name, least, most in (
            ("faster_whisper_stt_cpu_threads", 0, MOST_THREADS),
            ("faster_whisper_stt_gen_max_new_tokens", 1, MOST_TOKENS),
            ("faster_whisper_stt_gen_beam_size", 1, MOST_BEAMS),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name}: {least} to {most} is allowed, not {getattr(self, name)}")
