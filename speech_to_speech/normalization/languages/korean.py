"""Korean: Sino-Korean numbers, and native ones before the words that count things, people, hours and years of age."""

import re
from collections.abc import Sequence
from typing import Any

from speech_to_speech.normalization.language import Language, table
from speech_to_speech.normalization.numerals import spell
from speech_to_speech.normalization.tracked import Tracked

NATIVE = "spellout-cardinal-native-attributive"
COUNTERS = (
    "시간|시(?![리스즌민장간각도계])|명(?!령)|개(?![월국년])|살|마리|번째|번(?![지호]|\\s?(?:출구|버스|문제|국도|방|채널|선수|게이트))|잔|권|대(?![학륙가로])"
    "|병(?!원)|장(?!면)|송이|가지|켤레|사람|그루|벌|채|달(?!러)|곳|조각|모금|곡|끼|줄|군데|그릇|쌍|통|갑|포기|자루|척|바퀴|걸음|판|배(?!럴)"
)
COUNTED = re.compile(rf"(?<![\d.,/:제])(\d{{1,2}})\s?({COUNTERS})")
MONTH = re.compile(r"(?<![\d.,])(0?6|10)\s?월")
MONTHS = {6: "유월", 10: "시월"}


class Korean(Language):
    code = "ko"
    rules = "spellout-cardinal-sinokorean"
    minus = "마이너스"
    below_zero = "영하"
    to = "에서"
    ratio = "대"
    by = "곱하기"
    over = "대"
    per = "매"
    about = "약"
    number_sign = "넘버"
    dot = "닷"
    dash = "하이픈"
    underscore = "언더바"
    at = "골뱅이"
    percent = "퍼센트"
    points = table(".: 점")
    day_first = False
    units = table("""
        km: 킬로미터; m: 미터; cm: 센티미터; mm: 밀리미터; µm: 마이크로미터; nm: 나노미터; kg: 킬로그램; g: 그램
        mg: 밀리그램; t: 톤; lb: 파운드; oz: 온스; l: 리터; L: 리터; ml: 밀리리터; mL: 밀리리터; m²: 제곱미터
        m2: 제곱미터; km²: 제곱킬로미터; km2: 제곱킬로미터; m³: 세제곱미터; m3: 세제곱미터; cm²: 제곱센티미터
        ha: 헥타르; °C: 도; °F: 화씨 {} 도; °: 도; h: 시간; min: 분; s: 초; ms: 밀리초; km/h: 시속 {} 킬로미터
        m/s: 초속 {} 미터; mph: 시속 {} 마일; KB: 킬로바이트; kB: 킬로바이트; MB: 메가바이트; GB: 기가바이트
        TB: 테라바이트; Mbps: 메가비피에스; Hz: 헤르츠; kHz: 킬로헤르츠; MHz: 메가헤르츠; GHz: 기가헤르츠
        W: 와트; kW: 킬로와트; MW: 메가와트; kWh: 킬로와트시; V: 볼트; mAh: 밀리암페어시; dB: 데시벨
        hPa: 헥토파스칼; kPa: 킬로파스칼; J: 줄; kJ: 킬로줄; kcal: 킬로칼로리; cal: 칼로리; px: 픽셀; ft: 피트
        in: 인치; mi: 마일; ‰: 퍼밀; Ω: 옴
    """)
    currencies = table("""
        $: 달러; US$: 미국 달러; €: 유로; £: 파운드; ¥: 엔; ₩: 원; ₹: 루피; ₽: 루블; ₿: 비트코인; USD: 달러
        EUR: 유로; GBP: 파운드; JPY: 엔; CNY: 위안; KRW: 원
    """)
    magnitudes = table("""
        천: 천; 만: 만; 백만: 백만; 천만: 천만; 억: 억; 조: 조; million: 백만; billion: 십억; M: 백만; B: 십억
        k: 천; K: 천
    """)
    signs = table("""
        &: 앤드; +: 더하기; =: 는; @: 골뱅이; %: 퍼센트; °: 도; <: 보다 작은; >: 보다 큰; ≤: 이하; ≥: 이상
        ≠: 같지 않은; ≈: 약; ±: 플러스마이너스; ×: 곱하기; *: 곱하기; ÷: 나누기; −: 빼기; ∞: 무한대; $: 달러
        €: 유로; £: 파운드; ¥: 엔; √: 루트; ²: 제곱; ³: 세제곱; ^: 의; ‰: 퍼밀
    """)
    maths = table("frac: 나누기; sqrt: 루트; sum: 합; int: 적분")
    abbreviations = table("etc.: 등; e.g.: 예를 들어; i.e.: 즉; vs.: 대; vs: 대; No.: 넘버; C#: C 샵")

    def apart(self, match: Any, words: str) -> str:
        """What is behind a number, such as a particle, belongs to it."""
        return super().apart(match, words).rstrip()

    def ordinal(self, number: int, mark: str = "") -> str:
        return spell("ko", number, "spellout-ordinal-native-count")

    def phone(self, groups: Sequence[str]) -> str:
        """A zero in it is not the number."""
        return self.comma.join(self.digits(group).replace("영", "공") for group in groups)

    def power(self, exponent: str) -> str:
        return f"의 {exponent} 제곱"

    def fraction(self, above: int, below: int) -> str:
        return f"{self.cardinal(below)}분의 {self.cardinal(above)}"

    def mixed(self, whole: int, above: int, below: int) -> str:
        words = self.cardinal(whole)
        closed = (ord(words[-1]) - ord("가")) % 28 > 0  # the syllable ends in a consonant
        return f"{words}{'과' if closed else '와'} {self.fraction(above, below)}"

    def clock(self, hour: int, minute: int, second: int | None, half: str) -> str:
        words = {"a": "오전 ", "p": "오후 "}.get(half, "")
        words += f"{spell('ko', hour, NATIVE) if 1 <= hour <= 12 else self.cardinal(hour)} 시"
        if minute or second:
            words += f" {self.cardinal(minute)} 분"
        return words + (f" {self.cardinal(second)} 초" if second else "")

    def date(self, year: int | None, month: int, day: int | None) -> str:
        words = f"{self.cardinal(year)}년 " if year is not None else ""
        words += MONTHS.get(month) or f"{self.cardinal(month)}월"
        return words + (f" {self.cardinal(day)}일" if day else "")

    def before_numbers(self, tracked: Tracked) -> None:
        tracked.sub(MONTH, lambda match: self.apart(match, MONTHS[int(match[1])]))
        tracked.sub(COUNTED, self._counted)

    def _counted(self, match: Any) -> str | None:
        number, counter = int(match[1]), match[2]
        if counter == "번째":
            return self.ordinal(number) if number else None
        hours = {"시": 12, "시간": 20}.get(counter, 99)
        decade = counter in ("대", "배") and number >= 10  # 대 is a decade of age, 배 so many times as much
        if not 1 <= number <= hours or decade:
            return f"{self.cardinal(number)} {counter}"
        return f"{spell('ko', number, NATIVE)} {counter}"
