"""English."""

import re
from typing import Any

from speech_to_speech.normalization.language import Language, alternatives, table, words
from speech_to_speech.normalization.numerals import Number, spell
from speech_to_speech.normalization.tracked import Tracked

MONTHS = words("January February March April May June July August September October November December")
SHORT_MONTHS = {month[:3]: number for number, month in enumerate(MONTHS, 1)} | {"Sept": 9}
MONTH_NUMBERS = {month: number for number, month in enumerate(MONTHS, 1)} | SHORT_MONTHS
MONTH = rf"({alternatives(MONTH_NUMBERS)})\b\.?"
DAY = r"(\d{1,2})(?:st|nd|rd|th)?"

MONTH_DAY = re.compile(rf"\b{MONTH} {DAY}(?![\w:%]|[.,]\d)(?:(?:,| of)? ((?:1\d|20)\d\d)(?!\d))?")
DAY_MONTH = re.compile(rf"([Tt]he )?(?<![\w.,:/$])\b{DAY} (?:of )?{MONTH}(?:,? ((?:1\d|20)\d\d)(?!\d))?")
MONTH_YEAR = re.compile(rf"\b{MONTH},? ((?:1\d|20)\d\d)(?![\d,]|\.\d)")
ORDINAL = re.compile(r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,9})(?:st|nd|rd|th)\b")
DECADE = re.compile(r"(?<![\w.,$£€])['’]?(\d{1,3}0)['’]?s\b")
YEAR = re.compile(r"(?<![\w.,$£€¥#-])(?:(19\d\d|20\d\d)|(1[0-8]\d\d))(?![\w%°]|[.,]\d)")
YEAR_BEFORE = re.compile(
    r"(?:\b(?:in|since|until|till|year|before|after|circa|during|late|early|mid) |\()\Z", re.IGNORECASE
)
YEAR_AFTER = re.compile(r"\s?(?:\)|BCE?\b|CE\b|AD\b)")
EMERGENCY = re.compile(r"(?<![\w.,$-])911(?![\w%]|[.,]\d)")
HEIGHT = re.compile(r"(?<![\w.'’])(\d)[ ]?['’′][ ]?(\d{1,2})(?:[ ]?[\"”″]|'')")
FRACTIONS = {2: ("half", "halves"), 4: ("quarter", "quarters")}


class English(Language):
    code = "en"
    plural = "s"
    minus = "minus"
    to = "to"
    ratio = "to"
    by = "by"
    over = "over"
    per = "per"
    about = "about"
    number_sign = "number"
    dot = "dot"
    dash = "dash"
    underscore = "underscore"
    at = "at"
    percent = "percent"
    points = table(".: point")
    day_first = False
    units = table("""
        km: kilometre; m: metre; cm: centimetre; mm: millimetre; µm: micrometre; nm: nanometre; mi: mile
        ft: foot|feet; yd: yard; in.: inch|inches; kg: kilogram; g: gram; mg: milligram; µg: microgram; t: tonne
        lb: pound; lbs: pound; oz: ounce; l: litre; L: litre; ml: millilitre; mL: millilitre; cl: centilitre
        dl: decilitre; dL: decilitre; m²: square metre; m2: square metre; km²: square kilometre
        km2: square kilometre; cm²: square centimetre; m³: cubic metre; m3: cubic metre; ha: hectare
        sq ft: square foot|square feet; °C: degree Celsius|degrees Celsius
        °F: degree Fahrenheit|degrees Fahrenheit; °: degree; h: hour; hr: hour; hrs: hour; min: minute
        mins: minute; s: second; sec: second; secs: second; ms: millisecond; µs: microsecond; ns: nanosecond
        mph: mile per hour|miles per hour; kph: kilometre per hour|kilometres per hour
        KB: kilobyte; kB: kilobyte; MB: megabyte; GB: gigabyte
        TB: terabyte; PB: petabyte; GiB: gibibyte; MiB: mebibyte; Kbps: kilobit per second|kilobits per second
        Mbps: megabit per second|megabits per second; Gbps: gigabit per second|gigabits per second; Mb: megabit
        Gb: gigabit; Hz: hertz|hertz; kHz: kilohertz|kilohertz; MHz: megahertz|megahertz
        GHz: gigahertz|gigahertz; W: watt; kW: kilowatt; MW: megawatt; GW: gigawatt; kWh: kilowatt hour
        Wh: watt hour; V: volt; mV: millivolt; mA: milliamp; mAh: milliamp hour; dB: decibel; Pa: pascal
        hPa: hectopascal; kPa: kilopascal; psi: pound per square inch|pounds per square inch; J: joule
        kJ: kilojoule; cal: calorie; kcal: kilocalorie; px: pixel; fps: frame per second|frames per second
        rpm: R P M|R P M; tsp: teaspoon; tbsp: tablespoon; MP: megapixel; yr: year; yrs: year
        ‰: per mille|per mille; Ω: ohm
    """)
    currencies = table("""
        $: dollar/cent; US$: US dollar/cent; €: euro/cent; £: pound/penny|pence; ¥: yen|yen; ₩: won|won
        ₹: rupee; ₽: rouble; ₿: bitcoin; ₺: lira|lira; ₫: dong|dong; ¢: cent; USD: US dollar/cent
        EUR: euro/cent; GBP: pound/penny|pence; JPY: yen|yen; CNY: yuan|yuan; RMB: yuan|yuan; KRW: won|won
        CHF: Swiss franc; INR: rupee; CAD: Canadian dollar/cent; AUD: Australian dollar/cent
        CA$: Canadian dollar/cent; A$: Australian dollar/cent; HK$: Hong Kong dollar/cent; BTC: bitcoin
    """)
    magnitudes = table("""
        thousand: thousand; k: thousand; K: thousand; million: million; m: million; M: million; mn: million
        billion: billion; bn: billion; b: billion; B: billion; trillion: trillion; tn: trillion; T: trillion
    """)
    signs = table("""
        &: and; +: plus; =: equals; @: at; %: percent; °: degrees; <: less than; >: greater than; ≤: at most
        ≥: at least; ≠: is not equal to; ≈: about; ±: plus or minus; ×: times; *: times; ÷: divided by; −: minus
        ∞: infinity; $: dollars; €: euros; £: pounds; ¥: yen; §: section; √: the square root of
        ²: squared; ³: cubed; ^: to the power of; ♯: sharp; ‰: per mille
    """)
    maths = table("frac: over; sqrt: the square root of; sum: the sum of; int: the integral of")
    titles = table("""
        Mr.: Mister; Mrs.: Missus; Ms.: Miz; Dr.: Doctor; Prof.: Professor; Rev.: Reverend; Hon.: Honourable
        Gen.: General; Capt.: Captain; Lt.: Lieutenant; Sgt.: Sergeant; Sen.: Senator; Rep.: Representative
        Gov.: Governor; Pres.: President; St.: Saint; Mr: Mister; Mrs: Missus; Dr: Doctor; Mt.: Mount
        Fr.: Father; Sr.: Senior
    """)
    abbreviations = table("""
        e.g.: for example; eg.: for example; i.e.: that is; etc.: et cetera; etc: et cetera; vs.: versus
        vs: versus; approx.: approximately; a.k.a.: also known as; et al.: et alii; Jr.: Junior
        Inc.: Incorporated; Ltd.: Limited; Corp.: Corporation; Co.: Company; dept.: department
        Dept.: Department; max.: maximum; avg.: average; temp.: temperature; incl.: including; excl.: excluding
        tel.: telephone; Tel.: Telephone; Ave.: Avenue; Blvd.: Boulevard; Rd.: Road; w/o: without; w/: with
        U.S.A.: USA; U.S.: US; U.K.: UK; E.U.: EU; U.N.: UN; Ph.D.: PhD; a.m.: AM; p.m.: PM; i.e: that is
        e.g: for example; and/or: and or; Mon.: Monday; Tue.: Tuesday; Wed.: Wednesday; Thu.: Thursday
        Fri.: Friday; Jan.: January; Feb.: February; Aug.: August; Sept.: September; Oct.: October
        Nov.: November; Dec.: December; C#: C sharp; F#: F sharp
    """)

    numbered = table("""
        No.: number; Nos.: numbers; Fig.: figure; fig.: figure; vol.: volume; Vol.: volume
        ch.: chapter; Ch.: chapter; p.: page; pp.: pages; est.: established
    """)
    roman = re.compile(r"\b(?:World War|Chapter|Part|Act|Phase|Volume|Book|Super Bowl|Type) ([IVXL]{1,7})\b")

    def ordinal(self, number: int, mark: str = "") -> str:
        return spell("en", number, "spellout-ordinal")

    def year(self, number: int) -> str:
        return spell("en", number, "spellout-numbering-year").replace("oh-", "oh ")

    def fraction(self, above: int, below: int) -> str:
        if below > 20 and below != 100:
            return f"{self.cardinal(above)} over {self.cardinal(below)}"
        one, many = FRACTIONS.get(below) or (self.ordinal(below), self.ordinal(below) + "s")
        return f"{self.cardinal(above)} {one if above == 1 else many}"

    def mixed(self, whole: int, above: int, below: int) -> str:
        part = "a half" if below == 2 else self.fraction(above, below)
        return f"{self.cardinal(whole)} and {part}"

    def clock(self, hour: int, minute: int, second: int | None, half: str) -> str:
        words = self.cardinal(hour)
        if minute:
            words += f" oh {self.cardinal(minute)}" if minute < 10 else f" {self.cardinal(minute)}"
        elif not half:
            words += " o'clock" if 0 < hour <= 12 else " hundred"
        if second:
            words += f" and {self.measure(Number(False, str(second)), self.nouns['s'])}"
        return f"{words} {half.upper()}M" if half else words

    def date(self, year: int | None, month: int, day: int | None) -> str:
        words = MONTHS[month - 1] + (f" {self.ordinal(day)}" if day else "")
        return words if year is None else f"{words}{', ' if day else ' '}{self.year(year)}"

    def change(self, whole: Number, noun: Any, cents: Number, hundredth: Any) -> str:
        return f"{self.measure(whole, noun)} and {self.measure(cents, hundredth)}"

    def before_numbers(self, tracked: Tracked) -> None:
        tracked.sub(MONTH_DAY, lambda match: self._date(match, match[1], match[2], match[3]))
        tracked.sub(DAY_MONTH, self._day_month)
        tracked.sub(MONTH_YEAR, lambda match: self._date(match, match[1], None, match[2]))
        tracked.sub(ORDINAL, lambda match: self.ordinal(int(match[1].replace(",", ""))))
        tracked.sub(DECADE, self._decade)
        tracked.sub(HEIGHT, lambda match: f"{self.cardinal(int(match[1]))} foot {self.cardinal(int(match[2]))}")
        tracked.sub(EMERGENCY, "nine one one")
        tracked.sub(YEAR, self._year)

    def _date(self, match: Any, month: str, day: str | None, year: str | None) -> str | None:
        if day is not None and not 1 <= int(day) <= 31:
            return None
        return self.date(int(year) if year else None, MONTH_NUMBERS[month], int(day) if day else None)

    def _day_month(self, match: Any) -> str | None:
        article, day, month, year = match.groups()
        if not 1 <= int(day) <= 31:
            return None
        words = f"{article or 'the '}{self.ordinal(int(day))} of {MONTHS[MONTH_NUMBERS[month] - 1]}"
        return f"{words}, {self.year(int(year))}" if year else words

    def _decade(self, match: Any) -> str:
        number = int(match[1])
        words = self.year(number) if number >= 1000 else self.cardinal(number)
        return words[:-1] + "ies" if words.endswith("y") else words + "s"

    def _year(self, match: Any) -> str | None:
        text, start, end = match.string, match.start(), match.end()
        if match[1] or YEAR_BEFORE.search(text, max(0, start - 10), start) or YEAR_AFTER.match(text, end):
            return self.year(int(match[0]))
        return None
