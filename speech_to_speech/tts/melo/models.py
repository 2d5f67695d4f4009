"""What MeloTTS takes from the Hugging Face hub by itself.

Not tried: the list was taken from the library's source (`melo/download_utils.py`, and in `melo/text` the `english`,
`chinese_mix`, `japanese`, `korean`, `french` and `spanish` modules with their `*_bert`; https://github.com/myshell-ai/MeloTTS
and the fork in `environments/melo.txt`), where neither the hub nor GitHub could be reached.
"""

from collections.abc import Collection

from speech_to_speech.weights.downloads import Download

FLAG = "melo_languages"
# A language's checkpoint, and the BERT that its texts are read with. The names are the library's own: the hub still
# knows those without an organisation, and the hub's cache has them so.
CHECKPOINTS = {
    "en": "myshell-ai/MeloTTS-English",
    "fr": "myshell-ai/MeloTTS-French",
    "es": "myshell-ai/MeloTTS-Spanish",
    "zh": "myshell-ai/MeloTTS-Chinese",
    "ja": "myshell-ai/MeloTTS-Japanese",
    "ko": "myshell-ai/MeloTTS-Korean",
}
BERTS = {
    "en": "bert-base-uncased",
    "fr": "dbmdz/bert-base-french-europeana-cased",
    "es": "dccuchile/bert-base-spanish-wwm-uncased",
    "zh": "bert-base-multilingual-uncased",
    "ja": "tohoku-nlp/bert-base-japanese-v3",
    "ko": "kykim/bert-kor-base",
}
CHECKPOINT = ("config.json", "checkpoint.pth")
TOKENIZER = ("config.json", "tokenizer*", "vocab.txt", "special_tokens_map.json", "added_tokens.json")


def downloads(codes: Collection[str]) -> tuple[Download, ...]:
    """For these languages; the tokenizers of all six are read when the library is imported."""
    voices = [Download(CHECKPOINTS[code], FLAG, CHECKPOINT, by_library=True) for code in codes]
    readers = [
        Download(name, FLAG, () if code in codes else TOKENIZER, by_library=True) for code, name in BERTS.items()
    ]
    return (*voices, *readers)
