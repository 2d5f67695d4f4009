"""The languages whose numbers, signs and abbreviations are known: one file each."""

import functools
import importlib

from speech_to_speech.normalization.language import Language

CLASSES = {
    "en": "english.English",
    "fr": "french.French",
    "es": "spanish.Spanish",
    "zh": "chinese.Chinese",
    "ja": "japanese.Japanese",
    "ko": "korean.Korean",
}


@functools.cache
def language_of(code: str) -> Language:
    """The language of an ISO code; of one that is not known here its numbers, if the library can spell them out."""
    if code not in CLASSES:
        return Language(code)
    module, _, name = CLASSES[code].partition(".")
    found: Language = getattr(importlib.import_module(f"{__name__}.{module}"), name)()
    return found
