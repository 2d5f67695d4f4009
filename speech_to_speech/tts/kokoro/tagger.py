"""Where the tagger of Kokoro's English is, which PyPI does not have: all that building an image needs of us for it."""

TAGGER = (
    "https://github.com/explosion/spacy-models/releases/download/"
    "en_core_web_sm-3.8.0/en_core_web_sm-3.8.0-py3-none-any.whl"
)
