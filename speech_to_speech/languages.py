"""Languages by their ISO 639 codes: those that Whisper was trained on (https://github.com/openai/whisper)."""

from collections.abc import Iterable

AUTO = "auto"  # the language is heard in each utterance
SIX = ("en", "fr", "es", "zh", "ja", "ko")  # everything here is tried in these languages

# Whisper calls Javanese jw; here the language has its ISO code.
NAMES = {
    "en": "English",
    "zh": "Chinese",
    "de": "German",
    "es": "Spanish",
    "ru": "Russian",
    "ko": "Korean",
    "fr": "French",
    "ja": "Japanese",
    "pt": "Portuguese",
    "tr": "Turkish",
    "pl": "Polish",
    "ca": "Catalan",
    "nl": "Dutch",
    "ar": "Arabic",
    "sv": "Swedish",
    "it": "Italian",
    "id": "Indonesian",
    "hi": "Hindi",
    "fi": "Finnish",
    "vi": "Vietnamese",
    "he": "Hebrew",
    "uk": "Ukrainian",
    "el": "Greek",
    "ms": "Malay",
    "cs": "Czech",
    "ro": "Romanian",
    "da": "Danish",
    "hu": "Hungarian",
    "ta": "Tamil",
    "no": "Norwegian",
    "th": "Thai",
    "ur": "Urdu",
    "hr": "Croatian",
    "bg": "Bulgarian",
    "lt": "Lithuanian",
    "la": "Latin",
    "mi": "Maori",
    "ml": "Malayalam",
    "cy": "Welsh",
    "sk": "Slovak",
    "te": "Telugu",
    "fa": "Persian",
    "lv": "Latvian",
    "bn": "Bengali",
    "sr": "Serbian",
    "az": "Azerbaijani",
    "sl": "Slovenian",
    "kn": "Kannada",
    "et": "Estonian",
    "mk": "Macedonian",
    "br": "Breton",
    "eu": "Basque",
    "is": "Icelandic",
    "hy": "Armenian",
    "ne": "Nepali",
    "mn": "Mongolian",
    "bs": "Bosnian",
    "kk": "Kazakh",
    "sq": "Albanian",
    "sw": "Swahili",
    "gl": "Galician",
    "mr": "Marathi",
    "pa": "Punjabi",
    "si": "Sinhala",
    "km": "Khmer",
    "sn": "Shona",
    "yo": "Yoruba",
    "so": "Somali",
    "af": "Afrikaans",
    "oc": "Occitan",
    "ka": "Georgian",
    "be": "Belarusian",
    "tg": "Tajik",
    "sd": "Sindhi",
    "gu": "Gujarati",
    "am": "Amharic",
    "yi": "Yiddish",
    "lo": "Lao",
    "uz": "Uzbek",
    "fo": "Faroese",
    "ht": "Haitian Creole",
    "ps": "Pashto",
    "tk": "Turkmen",
    "nn": "Nynorsk",
    "mt": "Maltese",
    "sa": "Sanskrit",
    "lb": "Luxembourgish",
    "my": "Burmese",
    "bo": "Tibetan",
    "tl": "Tagalog",
    "mg": "Malagasy",
    "as": "Assamese",
    "tt": "Tatar",
    "haw": "Hawaiian",
    "ln": "Lingala",
    "ha": "Hausa",
    "ba": "Bashkir",
    "jv": "Javanese",
    "su": "Sundanese",
    "yue": "Cantonese",
}


def in_common(known: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """The languages that all of some models know; None stands for any."""
    sets = [languages for languages in known if languages is not None]
    return frozenset.intersection(*sets) if sets else None


class AnswerLanguage:
    """The language that one conversation is answered in: the one heard, or the last that could be spoken.

    `speakable` are the languages of the reply side, None: any. `language` is the one to begin with, or `auto`.
    """

    def __init__(self, language: str, speakable: frozenset[str] | None) -> None:
        self._speakable = speakable
        if language == AUTO:
            language = "en" if speakable is None or "en" in speakable else min(speakable)
        self._last = language

    def of(self, heard: str) -> str:
        """The language of an utterance: if it could not be told (`auto`), the last one."""
        return self._last if heard == AUTO else heard

    def to(self, heard: str) -> str:
        """The language of the answer to it."""
        heard = self.of(heard)
        return heard if self._speakable is None or heard in self._speakable else self._last

    def used(self, language: str) -> None:
        """A turn was answered in it."""
        self._last = language
