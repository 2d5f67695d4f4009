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
    "de": ("Nicole", "Christopher", "Megan", "Michelle"),
    "en": ("Jon",),
    "es": ("Olivia", "Steven", "Megan"),
    "fr": ("Christine", "Daniel", "Michelle", "Megan"),
    "it": ("Julia", "Richard", "Megan"),
    "nl": ("Jessica", "Mark", "Michelle"),
    "pl": ("Natalie", "Alex"),
    "pt": ("Sophia", "Nicholas"),
}
ENGLISH = """
Laura Gary Jon Lea Karen Rick Brenda David Eileen Jordan Mike Yann Joy James Eric Lauren Rose Will Jason Aaron Naomie
Alisa Patrick Jerry Tina Jenna Bill Tom Carol Barbara Rebecca Anna Bruce Emily
"""
# The speakers of a checkpoint are those of the first pattern that its name matches. The first of a language is the one
# who speaks by default.
FAMILIES: tuple[tuple[str, dict[str, tuple[str, ...]]], ...] = (
    ("multilingual", MULTILINGUAL),
    ("expresso", {"en": ("Thomas", "Jerry", "Elisabeth", "Talia")}),
    ("jenny", {"en": ("Jenny",)}),
    (r"parler-tts-(mini|large)-v1", {"en": tuple(ENGLISH.split())}),
)
NOBODY = "A woman"
MANNER = "speaks at a moderate pace, in a friendly and lively tone; the recording is very clear and close up."


def speakers_of(checkpoint: str) -> dict[str, tuple[str, ...]]:
    """The speakers of each language (ISO 639 code) that a checkpoint of that name knows.

    Of another name, a folder say, nothing is known: any language of the family, and nobody by name.
    """
    for pattern, speakers in FAMILIES:
        if re.search(pattern, checkpoint, re.IGNORECASE):
            return speakers
    return dict.fromkeys(MULTILINGUAL, ())


def description_of(speaker: str) -> str:
    """How the speaker is to sound, as the models were taught to read it."""
    return f"{speaker} {MANNER}"
