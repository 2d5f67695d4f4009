"""Spanish."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language, table, words
from speech_to_speech.normalization.numerals import Number, spell
from speech_to_speech.normalization.tracked import Tracked

MONTHS = words("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre")
ORDINAL = re.compile(
    r"(?<![\w.,])(\d{1,9})(?:\.?([ºª°])|(er|ero|era|do|da|ro|ra|to|ta|mo|ma|vo|va|no|na)\b)(?!\s?[CF]\b)"
)
# A number that ends in one, or hundreds, agrees with the noun behind it. Nouns in -a are feminine but for some.
COUNTED = re.compile(r"(?<![\w.,])(\d*1|[2-9]00|[1-9]\d{0,2}00)(?= ([a-záéíóúñü]{3,}))(?![.,]\d)")
NO_NOUNS = frozenset(
    words("más menos por para con que son eran fue pero como entre hasta desde sobre según sin del los las")
)
MASCULINE = re.compile(
    r"(?:día|mapa|problema|programa|sistema|tema|idioma|planeta|clima|poema|kilograma|drama|cura|turista)s?\Z"
)
FEMININE = re.compile(
    r"(?:as?|ción|ciones|sión|siones|dad|dades|tud|tudes|veces|vez|noches?|tardes?|calles?|llaves?|mujer|mujeres)\Z"
)
FRACTIONS = {2: ("medio", "medios"), 3: ("tercio", "tercios"), 100: ("centésimo", "centésimos")}


class Spanish(Language):
    code = "es"
    plural = "s"
    counting_rules = ("spellout-cardinal-masculine", "spellout-cardinal-feminine")
    minus = "menos"
    to = "a"
    ratio = "a"
    by = "por"
    over = "sobre"
    per = "por"
    about = "unos"
    number_sign = "número"
    dot = "punto"
    dash = "guion"
    underscore = "guion bajo"
    at = "arroba"
    percent = "por ciento"
    points = table(",: coma; .: punto")
    units = table("""
        km: kilómetro; m: metro; cm: centímetro; mm: milímetro; µm: micrómetro; nm: nanómetro; kg: kilogramo
        g: gramo; mg: miligramo; µg: microgramo; t: f:tonelada; lb: f:libra; l: litro; L: litro; ml: mililitro
        mL: mililitro; cl: centilitro; dl: decilitro; m²: metro cuadrado|metros cuadrados
        m2: metro cuadrado|metros cuadrados; ha: f:hectárea; km²: kilómetro cuadrado|kilómetros cuadrados
        km2: kilómetro cuadrado|kilómetros cuadrados; cm²: centímetro cuadrado|centímetros cuadrados
        m³: metro cúbico|metros cúbicos; m3: metro cúbico|metros cúbicos; °C: grado Celsius|grados Celsius
        ºC: grado Celsius|grados Celsius; °F: grado Fahrenheit|grados Fahrenheit; °: grado; h: f:hora
        min: minuto; s: segundo; seg: segundo; ms: milisegundo
        KB: kilobyte; kB: kilobyte; MB: megabyte; GB: gigabyte; TB: terabyte
        Mbps: megabit por segundo|megabits por segundo; Hz: hercio; kHz: kilohercio; MHz: megahercio
        GHz: gigahercio; W: vatio; kW: kilovatio; MW: megavatio; GW: gigavatio
        kWh: kilovatio hora|kilovatios hora; V: voltio; mAh: miliamperio hora|miliamperios hora; dB: decibelio
        hPa: hectopascal|hectopascales; kPa: kilopascal|kilopascales; J: julio; kJ: kilojulio
        kcal: f:kilocaloría; px: píxel|píxeles; ‰: por mil|por mil; Ω: ohmio
    """)
    currencies = table("""
        €: euro/céntimo; $: dólar|dólares/centavo; US$: dólar|dólares/centavo; £: f:libra/penique; ¥: yen|yenes
        ₩: won|wones; ₹: f:rupia; ₽: rublo; ₿: bitcóin|bitcoines; EUR: euro/céntimo; USD: dólar|dólares/centavo
        GBP: f:libra/penique; JPY: yen|yenes; CNY: yuan|yuanes; MXN: peso mexicano|pesos mexicanos/centavo
        CHF: franco suizo|francos suizos/céntimo; KRW: won|wones; ARS: peso argentino|pesos argentinos/centavo
        COP: peso colombiano|pesos colombianos/centavo
    """)
    magnitudes = table("""
        mil: mil; k: mil; K: mil; millón: millón; millones: millones; M: millones; mil millones: mil millones
        billón: billón; billones: billones
    """)
    signs = table("""
        &: y; +: más; =: igual a; @: arroba; %: por ciento; °: grados; <: menor que; >: mayor que
        ≤: menor o igual que; ≥: mayor o igual que; ≠: distinto de; ≈: aproximadamente; ±: más o menos; ×: por
        *: por; ÷: entre; −: menos; ∞: infinito; $: dólares; €: euros; £: libras; ¥: yenes; §: sección
        √: raíz cuadrada de; ²: al cuadrado; ³: al cubo; ^: elevado a; ‰: por mil
    """)
    maths = table("frac: sobre; sqrt: raíz cuadrada de; sum: la suma de; int: la integral de")
    titles = table("""
        Sr.: Señor; Sra.: Señora; Srta.: Señorita; Sres.: Señores; Dr.: Doctor; Dra.: Doctora; D.: Don
        Dña.: Doña; D.ª: Doña; Prof.: Profesor; Profa.: Profesora; Ing.: Ingeniero; Lic.: Licenciado
        Gral.: General; Sto.: Santo; Sta.: Santa; S.: San
    """)
    numbered = table("""
        n.º: número; N.º: número; nº: número; Nº: número; n°: número; N°: número; núm.: número; p.: página
        pág.: página; págs.: páginas; pp.: páginas; vol.: volumen; cap.: capítulo
    """)
    abbreviations = table("""
        EE. UU.: Estados Unidos; EE.UU.: Estados Unidos; EEUU: Estados Unidos; EE UU: Estados Unidos; Ud.: usted
        Uds.: ustedes; Vd.: usted; Vds.: ustedes; etc.: etcétera; etc: etcétera; p. ej.: por ejemplo
        p.ej.: por ejemplo; ej.: ejemplo; aprox.: aproximadamente; máx.: máximo; mín.: mínimo; tel.: teléfono
        Tel.: Teléfono; tfno.: teléfono; avda.: avenida; Avda.: Avenida; c/: calle; C/: Calle
        a. C.: antes de Cristo; a.C.: antes de Cristo; d. C.: después de Cristo; d.C.: después de Cristo
        a. m.: de la mañana; a.m.: de la mañana; p. m.: de la tarde; p.m.: de la tarde; vs.: contra; vs: contra
        dpto.: departamento; hab.: habitantes; e.g.: por ejemplo; i.e.: es decir; Cía.: Compañía; y/o: y o
        S.A.: S A; C#: C sharp
    """)
    roman = re.compile(
        r"\b(?:[Ss]iglos?|[Cc]apítulo|[Tt]omo|[Vv]olumen|Guerra Mundial|Carlos|Alfonso|Felipe|s\.) ([IVXL]{1,7})\b"
    )

    def ordinal(self, number: int, mark: str = "") -> str:
        if mark == "er":
            return spell("es", number, "spellout-ordinal-masculine-adjective")
        feminine = mark == "ª" or mark.endswith("a")
        return spell("es", number, f"spellout-ordinal-{'feminine' if feminine else 'masculine'}")

    def say_roman(self, match: re.Match[str], number: int) -> str:
        before = match[0][: match.start(1) - match.start()]
        name = before.strip() in ("Carlos", "Alfonso", "Felipe")
        before = "siglo " if before == "s. " else before
        return before + (self.ordinal(number) if name and number <= 10 else self.cardinal(number))

    def fractional(self, digits: str) -> str:
        """As a number, if it is short; zeros before it one by one."""
        zeros = len(digits) - len(digits.lstrip("0"))
        if len(digits) > 2 or zeros == len(digits):
            return self.digits(digits)
        return " ".join([*["cero"] * zeros, self.cardinal(int(digits))])

    def fraction(self, above: int, below: int) -> str:
        if below > 10 and below != 100:
            return f"{self.cardinal(above)} sobre {self.cardinal(below)}"
        one, many = FRACTIONS.get(below) or (self.ordinal(below), self.ordinal(below) + "s")
        return f"{self.counted(above)} {one if above == 1 else many}"

    def mixed(self, whole: int, above: int, below: int) -> str:
        return f"{self.cardinal(whole)} y {'medio' if (above, below) == (1, 2) else self.fraction(above, below)}"

    def clock(self, hour: int, minute: int, second: int | None, half: str) -> str:
        words = self.counted(hour, True)
        if minute:
            words += f" y {self.cardinal(minute)}" if hour <= 12 else f" {self.cardinal(minute)}"
        elif not half:
            words += " en punto" if 0 < hour <= 12 else " horas"
        if second:
            words += f" y {self.measure(Number(False, str(second)), self.nouns['s'])}"
        return words + {"a": " de la mañana", "p": " de la tarde" if hour < 8 or hour == 12 else " de la noche"}.get(
            half, ""
        )

    def date(self, year: int | None, month: int, day: int | None) -> str:
        words = MONTHS[month - 1] if day is None else f"{self.cardinal(day)} de {MONTHS[month - 1]}"
        return f"{words} de {self.cardinal(year)}" if year is not None else words

    def of(self, noun: Any) -> str:
        return f"de {noun.many}"

    def money(self, number: Number, noun: Any, hundredth: Any, magnitude: str) -> str:
        if magnitude == "mil":
            return f"{self.say(number)} mil {noun.many}"
        return super().money(number, noun, hundredth, magnitude)

    def change(self, whole: Number, noun: Any, cents: Number, hundredth: Any) -> str:
        return f"{self.measure(whole, noun)} con {self.cardinal(cents.value)}"

    def before_numbers(self, tracked: Tracked) -> None:
        tracked.sub(ORDINAL, self._ordinal)
        tracked.sub(COUNTED, self._counted)

    def _ordinal(self, match: Any) -> str | None:
        number = int(match[1])
        if match[2] == "°" or number == 0:
            return None
        mark = match[3] or match[2]
        return self.ordinal(number, mark)

    def _counted(self, match: Any) -> str | None:
        noun = match[2]
        if noun in NO_NOUNS or noun in MONTHS:
            return None
        feminine = FEMININE.search(noun) is not None and MASCULINE.search(noun) is None
        return self.counted(int(match[1]), feminine)
