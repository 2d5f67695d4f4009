"""From the options of `llm transformers` to a model that is ready to generate."""

import importlib.util
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from speech_to_speech.config.registry import extra
from speech_to_speech.errors import CheckpointError
from speech_to_speech.llm.transformers.engine import Engine
from speech_to_speech.llm.transformers.kv_cache import size_cache
from speech_to_speech.llm.transformers.options import TransformersOptions
from speech_to_speech.llm.transformers.prompts import Prompts
from speech_to_speech.llm.transformers.sampling import choose_sampling
from speech_to_speech.weights.downloads import Download

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

FLAG = "lm_model_name"
KIND = "an instruct language model"
LAYERS = frozenset({"full_attention", "sliding_attention"})  # continuous batching knows these kinds of attention


@dataclass(frozen=True)
class InstructModel:
    """A language model on its device."""

    tokenizer: Any
    silent_ids: frozenset[int]
    """Tokens that are no text of an answer: special ones, and those that end it."""
    prompts: Prompts
    engine: Engine
    longest_prompt: int
    """Tokens of the longest prompt that leaves room for an answer."""
    on_gpu: bool


def downloads(options: TransformersOptions) -> tuple[Download, ...]:
    return (Download(options.lm_model_name, FLAG),)


def load_instruct_model(options: TransformersOptions, batch_limit: int) -> InstructModel:
    """Get the checkpoint, put it on its device, and allocate its cache.

    Raises:
        CheckpointError: it can't be had, is broken, is no instruct model or does not fit.
    """
    import torch

    from speech_to_speech.weights.checkpoints import (
        choose_device,
        choose_dtype,
        fetch,
        importing,
        load_pretrained,
        loading,
        require_memory,
    )

    with importing():
        from transformers import AutoModelForCausalLM, AutoTokenizer

        import_engine()
    name = options.lm_model_name
    device = choose_device(options.lm_device, flag="lm_device")
    dtype = choose_dtype(options.lm_torch_dtype, device, flag="lm_torch_dtype")
    quantization = _quantization(options, device, dtype)
    (download,) = downloads(options)
    folder = fetch(download.name, flag=download.flag)
    if device.index is not None and device.type == "cuda":
        torch.cuda.set_device(device)  # this thread, which takes all steps, gets the device
    with loading(name, KIND, flag=FLAG):
        config = _config(folder, name)
        attention = _attention(options, device, dtype, config)
        size = size_cache(
            config,
            device,
            dtype,
            gigabytes=options.lm_kv_cache_gb,
            batch_limit=batch_limit,
            max_new_tokens=options.lm_gen_max_new_tokens,
            flash=attention.startswith("flash"),
            flag=FLAG,
        )
        bits = int(options.lm_quantization[0]) if options.lm_quantization else None
        require_memory(folder, device, dtype, flag=FLAG, extra_bytes=size.bytes, bits_per_weight=bits)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        prompts = Prompts(tokenizer, name, user_role=options.user_role, system_role=options.init_chat_role, flag=FLAG)
        on_device: dict[str, Any] = {"device_map": {"": device}} if device.type == "cuda" else {}
        model = load_pretrained(
            AutoModelForCausalLM,
            folder,
            flag=FLAG,
            dtype=dtype,
            attn_implementation=attention,
            quantization_config=quantization,
            **on_device,
        )
        if not on_device:
            model = model.to(device)
        model.eval()
        sampling = choose_sampling(
            model,
            tokenizer,
            do_sample=options.lm_gen_do_sample,
            temperature=options.lm_gen_temperature,
            max_new_tokens=options.lm_gen_max_new_tokens,
            min_new_tokens=options.lm_gen_min_new_tokens,
        )
        engine = Engine(model, size, sampling, batch_limit)
        try:
            engine.build()
        except MemoryError as error:
            raise CheckpointError(
                f"lm_kv_cache_gb: {size.bytes / 1e9:.2g} GB for prompts do not fit beside {name}; allow less"
            ) from error
    logger.info(
        "llm: %s as %s on %s with %s; the cache has room for %d tokens, of which one request takes %d at most",
        *(name, options.lm_quantization or str(dtype).removeprefix("torch."), device, attention),
        *(size.page * size.pages, size.request_tokens),
    )
    if options.lm_gen_do_sample and not options.lm_gen_temperature:
        logger.info("llm: lm_gen_temperature is 0, so lm_gen_do_sample changes nothing")
    return InstructModel(
        tokenizer,
        _special_ids(tokenizer) | sampling.eos_ids,
        prompts,
        engine,
        size.request_tokens - options.lm_gen_max_new_tokens,
        device.type != "cpu",
    )


def import_engine() -> None:
    """What the engine imports when it is built, other models loading at the time."""
    from transformers import AttentionInterface, AutoConfig, ContinuousBatchingConfig, GenerationConfig  # noqa: F401
    from transformers.generation.continuous_batching import cb_logits_processors  # noqa: F401


def _config(folder: Path, name: str) -> Any:
    """The configuration of the text model in a checkpoint."""
    from transformers import AutoConfig, AutoModelForCausalLM

    whole = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if whole.is_encoder_decoder or type(whole) not in AutoModelForCausalLM._model_mapping:
        raise CheckpointError(
            f"{FLAG}: {name} is a {whole.model_type} model, but {KIND} is needed; choose another --{FLAG}, "
            "HuggingFaceTB/SmolLM2-360M-Instruct say"
        )
    config = whole.get_text_config()
    if unknown := sorted(set(getattr(config, "layer_types", None) or LAYERS) - LAYERS):
        raise CheckpointError(
            f"{FLAG}: {name} has layers of {', '.join(unknown)}, which can't serve several requests at once here; "
            f"choose another --{FLAG}"
        )
    return config


def _attention(options: TransformersOptions, device: "torch.device", dtype: "torch.dtype", config: Any) -> str:
    """Which implementation of attention transformers is to take."""
    if options.lm_attention != "auto":
        return options.lm_attention
    if getattr(config, "attn_logit_softcapping", None):
        return "eager"  # PyTorch's own attention has no soft-capping
    if device.type == "cuda" and dtype.itemsize == 2 and importlib.util.find_spec("flash_attn") is not None:
        return "flash_attention_2"
    return "sdpa"


def _quantization(options: TransformersOptions, device: "torch.device", dtype: "torch.dtype") -> Any:
    """How bitsandbytes is to make the weights smaller; None if it is not to. Not tried, for want of a GPU.

    Raises:
        CheckpointError: there is no CUDA device, or no bitsandbytes.
    """
    if options.lm_quantization is None:
        return None
    if device.type != "cuda":
        raise CheckpointError(f"lm_quantization: it needs a CUDA device, and lm_device is {device}; leave it out")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CheckpointError(f"lm_quantization: it needs bitsandbytes: {extra('quantized')}")
    from transformers import BitsAndBytesConfig

    if options.lm_quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=dtype)


def _special_ids(tokenizer: Any) -> frozenset[int]:
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return frozenset(special) | frozenset(tokenizer.all_special_ids)
