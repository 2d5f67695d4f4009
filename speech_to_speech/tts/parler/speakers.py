"""Who speaks in the published Parler-TTS checkpoints: names that others quote from their model cards.

The cards could not be reached where this was written; of the multilingual checkpoint's English speaker no quote was
found.

- https://huggingface.co/parler-tts/parler-tts-mini-v1 (34 names), parler-tts-large-v1 (the same)
- https://huggingface.co/parler-tts/parler-tts-mini-multilingual-v1.1
- https://huggingface.co/parler-tts/parler-tts-mini-expresso
- https://huggingface.co/ylacombe/parler-tts-mini-jenny-30H
"""

import re

MULTILINGUAL = {
    "de": "Nicole",
    "en": "Jon",
    "es": "Olivia",
    "fr": "Christine",
    "it": "Julia",
    "nl": "Jessica",
    "pl": "Natalie",
    "pt": "Sophia",
}
# The speakers of a checkpoint are those of the first pattern that its name matches.
FAMILIES: tuple[tuple[str, dict[str, str]], ...] = (
    ("multilingual", MULTILINGUAL),
    ("expresso", {"en": "Thomas"}),
    ("jenny", {"en": "Jenny"}),
    (r"parler-tts-(mini|large)-v1", {"en": "Laura"}),
)
MANNER = "speaks at a moderate pace, in a friendly and lively tone; the recording is very clear and close up."


def speakers_of(checkpoint: str) -> dict[str, str]:
    """The default speaker of each language (ISO 639 code) that a checkpoint of that name knows.

    Of another name, a folder say, nothing is known: then a woman nobody knows, in any language of the family.
    """
    for pattern, speakers in FAMILIES:
        if re.search(pattern, checkpoint, re.IGNORECASE):
            return speakers
    return dict.fromkeys(MULTILINGUAL, "A woman")


def description_of(speaker: str) -> str:
    """How the speaker is to sound, as the models were taught to read it."""
    return f"{speaker} {MANNER}"
