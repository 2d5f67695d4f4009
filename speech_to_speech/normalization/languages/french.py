"""French."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language, Noun, table, words
from speech_to_speech.normalization.numerals import Number, spell
from speech_to_speech.normalization.tracked import Tracked

MONTHS = words("janvier février mars avril mai juin juillet août septembre octobre novembre décembre")
HOURS = re.compile(r"(?<![\w.,:/])([01]?\d|2[0-4])\s?h\s?([0-5]\d)?(?:\s?min)?(?!\w)")
FIRST_OF_MONTH = re.compile(rf"(?<![\w.,:/])1er? ({'|'.join(MONTHS)})\b")
ORDINAL = re.compile(r"(?<![\w.,])(\d{1,9})(ers?|res?|ères?|ers?|nde?s?|es?|èmes?|èmes?|ième?s?|d)(?!\w)")
# One, or twenty-one, before feminine nouns that are counted often, and endings that are nearly always feminine.
FEMININE = re.compile(
    r"(?<![\w.,])(\d*1)(?= (?!(?:été|côté|comité|musée|lycée|stade|grade|silence)s?\b)"
    r"(?:\w+(?:tion|sion|té|ette|ance|ence|esse|ure|ie|ée|ade)s?|heures?|minutes?|secondes?|fois|semaines?|personnes?|"
    r"pages?|choses?|tasses?|cuillères?|tonnes?|nuits?|femmes?|filles?|étapes?|raisons?|lignes?|pommes?|tranches?|"
    r"bouteilles?|chambres?|voitures?|maisons?|villes?|langues?|équipes?|tables?)\b)"
)
FRACTIONS = {2: ("demi", "demis"), 3: ("tiers", "tiers"), 4: ("quart", "quarts")}
VOWELS = "aeiouyéèêh"


class French(Language):
    code = "fr"
    plural = "s"
    counting_rules = ("spellout-cardinal-masculine", "spellout-cardinal-feminine")
    minus = "moins"
    to = "à"
    ratio = "à"
    by = "par"
    over = "sur"
    per = "par"
    about = "environ"
    number_sign = "numéro"
    dot = "point"
    dash = "tiret"
    underscore = "tiret bas"
    at = "arobase"
    percent = "pour cent"
    points = table(",: virgule; .: virgule")
    units = table("""
        km: kilomètre; m: mètre; cm: centimètre; mm: millimètre; µm: micromètre; nm: nanomètre; kg: kilogramme
        g: gramme; mg: milligramme; µg: microgramme; t: f:tonne; lb: f:livre; l: litre; L: litre; ml: millilitre
        mL: millilitre; cl: centilitre; dl: décilitre; m²: mètre carré|mètres carrés
        m2: mètre carré|mètres carrés; ha: hectare; km²: kilomètre carré|kilomètres carrés
        km2: kilomètre carré|kilomètres carrés; cm²: centimètre carré|centimètres carrés
        m³: mètre cube|mètres cubes; m3: mètre cube|mètres cubes; °C: degré Celsius|degrés Celsius
        °F: degré Fahrenheit|degrés Fahrenheit; °: degré; h: f:heure; min: f:minute; mn: f:minute; s: f:seconde
        sec: f:seconde; ms: f:milliseconde; km/h: kilomètre-heure|kilomètres-heure; Ko: kilooctet; Mo: mégaoctet
        Go: gigaoctet; To: téraoctet; ko: kilooctet; KB: kilooctet; MB: mégaoctet; GB: gigaoctet; TB: téraoctet
        Mbit: mégabit; Gbit: gigabit; Hz: hertz|hertz; kHz: kilohertz|kilohertz; MHz: mégahertz|mégahertz
        GHz: gigahertz|gigahertz; W: watt; kW: kilowatt; MW: mégawatt; GW: gigawatt; kWh: kilowattheure; V: volt
        mAh: milliampère-heure; dB: décibel; hPa: hectopascal; kPa: kilopascal; J: joule; kJ: kilojoule
        kcal: f:kilocalorie; px: pixel; ‰: pour mille|pour mille; Ω: ohm
    """)
    currencies = table("""
        €: euro/centime; $: dollar/cent; US$: dollar américain|dollars américains/cent; £: f:livre/penny|pence
        ¥: yen; ₩: won; ₹: f:roupie; ₽: rouble; ₿: bitcoin; EUR: euro/centime; USD: dollar/cent
        GBP: f:livre/penny|pence; JPY: yen; CNY: yuan; CHF: franc suisse|francs suisses/centime
        CAD: dollar canadien|dollars canadiens/cent; FCFA: franc CFA|francs CFA; KRW: won; F: franc/centime
    """)
    magnitudes = table("""
        mille: mille; k: mille; K: mille; million: million; millions: millions; M: millions; milliard: milliard
        milliards: milliards; Md: milliards; Mds: milliards
    """)
    signs = table("""
        &: et; +: plus; =: égale; @: arobase; %: pour cent; °: degrés; <: inférieur à; >: supérieur à
        ≤: inférieur ou égal à; ≥: supérieur ou égal à; ≠: différent de; ≈: environ; ±: plus ou moins; ×: fois
        *: fois; ÷: divisé par; −: moins; ∞: l'infini; $: dollars; €: euros; £: livres; ¥: yens; §: paragraphe
        √: racine carrée de; ²: au carré; ³: au cube; ^: puissance; ‰: pour mille
    """)
    maths = table("frac: sur; sqrt: racine carrée de; sum: la somme de; int: l'intégrale de")
    titles = table("""
        M.: Monsieur; MM.: Messieurs; Mme: Madame; Mmes: Mesdames; Mlle: Mademoiselle; Dr: Docteur; Dr.: Docteur
        Pr: Professeur; Pr.: Professeur; Me: Maître; Mgr: Monseigneur; St: Saint; Ste: Sainte; St-: Saint-
        Ste-: Sainte-; Mr: Monsieur; Mr.: Monsieur
    """)
    numbered = table("n°: numéro; N°: numéro; nº: numéro; nos: numéros; p.: page; pp.: pages; vol.: volume")
    abbreviations = table("""
        etc.: et cetera; etc: et cetera; p. ex.: par exemple; p.ex.: par exemple; ex.: exemple
        c.-à-d.: c'est-à-dire; c-à-d: c'est-à-dire; càd: c'est-à-dire; env.: environ; vs: contre; vs.: contre
        av. J.-C.: avant Jésus-Christ; ap. J.-C.: après Jésus-Christ; apr. J.-C.: après Jésus-Christ
        svp: s'il vous plaît; stp: s'il te plaît; rdv: rendez-vous; RDV: rendez-vous; tél.: téléphone
        Tél.: Téléphone; bd: boulevard; Bd: Boulevard; av.: avenue; max.: maximum; hab.: habitants
        e.g.: par exemple; i.e.: c'est-à-dire; qqch: quelque chose; qqn: quelqu'un; dép.: département
        Mme: Madame; C#: C sharp
    """)
    roman = re.compile(r"\b([IVX]{1,6})(?:e|è|ème|er)(?= siècles?\b)")

    def ordinal(self, number: int, mark: str = "") -> str:
        if mark.startswith("nd") or mark == "d":
            words = "seconde" if mark.startswith("nde") else "second"
        else:
            feminine = mark.startswith(("re", "ère"))
            words = spell("fr", number, f"spellout-ordinal-{'feminine' if feminine else 'masculine'}")
        return words + ("s" if mark.endswith("s") else "")

    def say_roman(self, match: re.Match[str], number: int) -> str:
        return self.ordinal(number)

    def phone(self, groups: Any) -> str:
        """In pairs, as numbers."""
        return self.comma.join(map(self._pair, groups))

    def _pair(self, group: str) -> str:
        if len(group) > 2 or group[0] == "0":
            return self.digits(group)
        return self.cardinal(int(group))

    def fractional(self, digits: str) -> str:
        """As a number, if it is short; zeros before it one by one."""
        zeros = len(digits) - len(digits.lstrip("0"))
        if len(digits) > 3 or zeros == len(digits):
            return self.digits(digits)
        return " ".join([*["zéro"] * zeros, self.cardinal(int(digits))])

    def is_one(self, number: Number) -> bool:
        return number.value < 2

    def fraction(self, above: int, below: int) -> str:
        if below > 20 and below != 100:
            return f"{self.cardinal(above)} sur {self.cardinal(below)}"
        one, many = FRACTIONS.get(below) or (self.ordinal(below), self.ordinal(below) + "s")
        return f"{self.cardinal(above)} {one if above == 1 else many}"

    def mixed(self, whole: int, above: int, below: int) -> str:
        return f"{self.cardinal(whole)} et {'demi' if (above, below) == (1, 2) else self.fraction(above, below)}"

    def clock(self, hour: int, minute: int, second: int | None, half: str) -> str:
        words = self.measure(Number(False, str(hour)), self.nouns["h"])
        if minute:
            words += f" {self.counted(minute, True)}"
        if second:
            words += f" et {self.measure(Number(False, str(second)), self.nouns['s'])}"
        return words + {"a": " du matin", "p": " de l'après-midi" if hour < 6 or hour == 12 else " du soir"}.get(
            half, ""
        )

    def date(self, year: int | None, month: int, day: int | None) -> str:
        words = (
            MONTHS[month - 1] if day is None else f"{'premier' if day == 1 else self.cardinal(day)} {MONTHS[month - 1]}"
        )
        return f"{words} {self.cardinal(year)}" if year is not None else words

    def of(self, noun: Noun) -> str:
        return f"d'{noun.many}" if noun.many[0] in VOWELS and not noun.many.startswith("yen") else f"de {noun.many}"

    def change(self, whole: Number, noun: Any, cents: Number, hundredth: Any) -> str:
        return f"{self.measure(whole, noun)} {self.cardinal(cents.value)}"

    def money(self, number: Number, noun: Noun, hundredth: Noun | None, magnitude: str) -> str:
        if magnitude == "mille":
            return f"{self.say(number)} mille {noun.many}"
        return super().money(number, noun, hundredth, magnitude)

    def before_numbers(self, tracked: Tracked) -> None:
        tracked.sub(HOURS, lambda match: self.clock(int(match[1]), int(match[2] or 0), None, ""))
        tracked.sub(FIRST_OF_MONTH, lambda match: f"premier {match[1]}")
        tracked.sub(ORDINAL, lambda match: self.ordinal(int(match[1]), match[2]))
        tracked.sub(FEMININE, lambda match: self.counted(int(match[1]), True))
