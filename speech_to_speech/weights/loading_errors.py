"""What `from_pretrained` raises, as one line that names the fix."""

from pathlib import Path

from speech_to_speech.weights.hub.errors import one_line

# Words of transformers' errors, and for each what it means and what to do.
AGAIN = "{again}"
OTHER = "choose another --{flag}"
MEANINGS = (
    ("custom code", f"it needs code from its own repository, which is not run here; {OTHER}"),
    ("trust_remote_code", f"it needs code from its own repository, which is not run here; {OTHER}"),
    ("no file named", f"it has no weights for PyTorch; {OTHER}, or {AGAIN}"),
    ("model_type", f"its config.json is missing, or does not say what model it is; {OTHER}"),
    ("does not recognize this architecture", "transformers does not know it; pip install --upgrade transformers"),
    ("ignore_mismatched_sizes", f"its weights don't fit its config.json; {AGAIN}, or {OTHER}"),
    ("backend tokenizer", f"it has no tokenizer.json, or that is broken; {AGAIN}"),
    ("feature extractor", f"it has no preprocessor_config.json; {AGAIN}"),
    ("not a valid JSON", f"its files are broken; {AGAIN}"),
)
# The errors go by name, for a backend may do without their modules.
BROKEN_FILES = ("SafetensorError", "UnpicklingError", "JSONDecodeError", "EOFError")


def problem_of_loading(error: Exception, name: str, flag: str) -> str:
    """What is wrong with the checkpoint that `flag` calls `name`, and what to do."""
    text = one_line(error)
    again = again_with(name)
    if type(error).__name__ in ("OutOfMemoryError", "MemoryError") or "out of memory" in text:
        return f"it takes more memory than is free; choose a smaller --{flag}, or --profile cpu"
    if isinstance(error, ImportError):
        return f"it needs a package that is not installed: {text}"
    if type(error).__name__ in BROKEN_FILES:
        return f"its files are broken ({text}); {again}"
    for sign, meaning in MEANINGS:
        if sign in str(error):
            return meaning.format(flag=flag, again=again)
    return f"{type(error).__name__}: {text}; {again}, or choose another --{flag}"


def again_with(name: str) -> str:
    """How to get a model's files once more."""
    if "/" not in name or Path(name).expanduser().is_dir():
        return "copy or download the model again"
    return f"run `hf cache rm model/{name.partition('@')[0]}` and start again"
