"""The options of `llm transformers`."""

from dataclasses import dataclass, field

from speech_to_speech.llm.transformers.kv_cache import CPU_GB, GPU_GB
from speech_to_speech.weights.devices import DTYPES, check_device

QUANTIZATIONS = ("8bit", "4bit")
ATTENTIONS = ("auto", "sdpa", "eager", "flash_attention_2")
MOST_TOKENS = 4096  # tokens of an answer; nobody listens to a longer one


@dataclass(frozen=True)
class TransformersOptions:
    lm_model_name: str = field(
        default="HuggingFaceTB/SmolLM-360M-Instruct", metadata={"help": "an instruct model on the hub, or a folder"}
    )
    lm_device: str = field(default="cuda", metadata={"help": "cpu, cuda, cuda:1, mps or auto"})
    lm_torch_dtype: str = field(
        default="float16", metadata={"help": f"{', '.join(DTYPES)}, auto; on a CPU float16 becomes float32"}
    )
    lm_quantization: str | None = field(
        default=None, metadata={"help": "8bit or 4bit, by bitsandbytes on CUDA: less memory, somewhat slower"}
    )
    lm_attention: str = field(
        default="auto",
        metadata={"help": f"{', '.join(ATTENTIONS)}; auto takes flash_attention_2 where it is installed, else sdpa"},
    )
    lm_kv_cache_gb: float | None = field(
        default=None,
        metadata={
            "help": f"memory for what the model remembers of prompts, in GB: {GPU_GB:g} on a GPU, {CPU_GB:g} on a CPU"
        },
    )
    lm_gen_max_new_tokens: int = field(default=128, metadata={"help": "longest answer in tokens"})
    lm_gen_min_new_tokens: int = field(default=0, metadata={"help": "shortest answer in tokens"})
    lm_gen_temperature: float = field(
        default=0.0, metadata={"help": "with lm_gen_do_sample: how freely; 0 always takes the likeliest token"}
    )
    lm_gen_do_sample: bool = field(default=False, metadata={"help": "choose tokens by chance"})
    user_role: str = field(default="user", metadata={"help": "what the chat template calls the one who asks"})
    init_chat_role: str = field(
        default="system", metadata={"help": "what the chat template calls the one who says how to answer"}
    )

    def __post_init__(self) -> None:
        for name in ("lm_model_name", "user_role", "init_chat_role"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name}: a name is expected")
        check_device(self.lm_device, flag="lm_device")
        for name, allowed in (
            ("lm_torch_dtype", (*DTYPES, "auto")),
            ("lm_quantization", (None, *QUANTIZATIONS)),
            ("lm_attention", ATTENTIONS),
        ):
            if getattr(self, name) not in allowed:
                choices = ", ".join(choice for choice in allowed if choice is not None)
                raise ValueError(f"{name}: there are {choices}, not {getattr(self, name)!r}")
        if not 1 <= self.lm_gen_max_new_tokens <= MOST_TOKENS:
            raise ValueError(f"lm_gen_max_new_tokens: 1 to {MOST_TOKENS} is allowed, not {self.lm_gen_max_new_tokens}")
        if not 0 <= self.lm_gen_min_new_tokens <= self.lm_gen_max_new_tokens:
            raise ValueError(
                f"lm_gen_min_new_tokens: 0 to lm_gen_max_new_tokens, {self.lm_gen_max_new_tokens}, is allowed, "
                f"not {self.lm_gen_min_new_tokens}"
            )
        if not 0 <= self.lm_gen_temperature <= 10:
            raise ValueError(f"lm_gen_temperature: 0 to 10 is allowed, not {self.lm_gen_temperature}")
        if self.lm_kv_cache_gb is not None and not 0 < self.lm_kv_cache_gb <= 1000:
            raise ValueError(f"lm_kv_cache_gb: more than 0 and at most 1000 is allowed, not {self.lm_kv_cache_gb}")
