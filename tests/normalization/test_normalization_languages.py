"""What is written and what is said, language by language."""

import pytest

from speech_to_speech.languages import SIX
from speech_to_speech.normalization.languages import language_of
from speech_to_speech.normalization.normalizer import Normalizer
from speech_to_speech.normalization.numerals import read_number

ENGLISH = {
    "It costs $3.50 and takes 2 km.": "It costs three dollars and fifty cents and takes two kilometres.",
    "€5, £1 and ¥300": "five euros, one pound and three hundred yen",
    "$0.99 or US$5": "ninety-nine cents or five US dollars",
    "$1.5 million and 5 USD": "one point five million dollars and five US dollars",
    "You pay $5-10 or $5–$10": "You pay five to ten dollars or five dollars to ten dollars",
    "5 dollars, $5 dollars": "five dollars, five dollars",
    "-5 °C and 50%": "minus five degrees Celsius and fifty percent",
    "100 km/h, 5 mg/dL, $5/h": (
        "one hundred kilometres per hour, five milligrams per decilitre, five dollars per hour"
    ),
    "8 GB, 1 kg, 70 m², 12 min": "eight gigabytes, one kilogram, seventy square metres, twelve minutes",
    "1,234,567 people": "one million two hundred thirty-four thousand five hundred sixty-seven people",
    "3.14 and .5 km": "three point one four and zero point five kilometres",
    "In 1999 and 2024, 1500 came": "In nineteen ninety-nine and twenty twenty-four, one thousand five hundred came",
    "since 1776 (1815)": "since seventeen seventy-six (eighteen fifteen)",
    "the 1990s and 80s": "the nineteen nineties and eighties",
    "1st, 2nd and the 23rd": "first, second and the twenty-third",
    "At 14:30, 10:05 or 9:00": "At fourteen thirty, ten oh five or nine o'clock",
    "3pm, 11:15 a.m. sharp": "three PM, eleven fifteen AM sharp",
    "It starts at 3 p.m.": "It starts at three PM.",
    "On 2024-05-03 and 5/3/2024": "On May third, twenty twenty-four and May third, twenty twenty-four",
    "On May 3, 2024, the 3rd of June": "On May third, twenty twenty-four, the third of June",
    "On 31/12/1999": "On December thirty-first, nineteen ninety-nine",
    "1/2 cup, 3/4 and 2 1/2": "one half cup, three quarters and two and a half",
    "½ and 1¾": "one half and one and three quarters",
    "24/7 and 120/80": "twenty-four seven and one hundred twenty over eighty",
    "5-10 km, 5 – 10": "five to ten kilometres, five to ten",
    "pages 10-5-3": "pages one zero, five, three",
    "5-3=2 and 5 + 3 = 8": "five minus three equals two and five plus three equals eight",
    "Call 911 or 555-1234": "Call nine one one or five five five, one two three four",
    "+1 (555) 123-4567": "plus one, five five five, one two three, four five six seven",
    "Agent 007, card 12345678901": (
        "Agent zero zero seven, card one two three four five six seven eight nine zero one"
    ),
    "16:9 and 10 x 20": "sixteen to nine and ten by twenty",
    "Python 3.11.2": "Python three point eleven point two",
    "GPT-4, COVID-19, H2O, MP3": "GPT four, COVID nineteen, H two O, MP three",
    "#1 and No. 5": "number one and number five",
    "~5 minutes": "about five minutes",
    "R&D at AT&T": "R and D at AT and T",
    "C++ and C#": "C plus plus and C sharp",
    "x < 5, y >= 3, z != 1": "x less than five, y at least three, z is not equal to one",
    "3*4 and 3 × 4": "three times four and three times four",
    "Dr. Smith, e.g. Mr. J. Jones, etc.": "Doctor Smith, for example Mister J. Jones, et cetera.",
    "St. Paul is on Main St. Go": "Saint Paul is on Main Street. Go",
    "World War II and vitamin C": "World War two and vitamin C",
    "NASA and the U.S. agree": "NASA and the US agree",
    "https://www.example.com/a/b?c=1": "example dot com",
    "Write to john.doe@my-site.co.uk.": "Write to john dot doe at my dash site dot co dot uk.",
    "Open README.md, or example.org/x.": "Open README dot md, or example dot org.",
    "file(s) and/or he/she": "files and or he she",
    "H₂O and x²": "H two O and x squared",
    "1,5 and 10,00": "one,five and ten,zero zero",
}
FRENCH = {
    "Ça coûte 3,50 € et 1 234,56 $.": (
        "Ça coûte trois euros cinquante et mille deux cent trente-quatre dollars cinquante-six."
    ),
    "2,5 millions d'euros, 3 M€": "deux virgule cinq millions d'euros, trois millions d'euros",
    "Il est 14h30, 14:30 ou 1 h.": "Il est quatorze heures trente, quatorze heures trente ou une heure.",
    "Le 1er mai 2024, le 03/05/2024": "Le premier mai deux mille vingt-quatre, le trois mai deux mille vingt-quatre",
    "au XXIe siècle": "au vingt-et-unième siècle",
    "M. Martin et Mme Roy, p. ex., etc.": "Monsieur Martin et Madame Roy, par exemple, et cetera.",
    "1 personne, 21 étapes, 1 jour": "une personne, vingt-et-une étapes, un jour",
    "J. M. Dupont habite 1 côté": "J. M. Dupont habite un côté",
    "-5 °C et 50 %": "moins cinq degrés Celsius et cinquante pour cent",
    "3,14 puis 3,05 puis 0,5": "trois virgule quatorze puis trois virgule zéro cinq puis zéro virgule cinq",
    "5-10 kg à 5 km/h": "cinq à dix kilogrammes à cinq kilomètres-heure",
    "1/2, 3/4 et 2/3": "un demi, trois quarts et deux tiers",
    "06 12 34 56 78": "zéro six, douze, trente-quatre, cinquante-six, soixante-dix-huit",
    "1 234 567 habitants": "un million deux cent trente-quatre mille cinq cent soixante-sept habitants",
    "1ère, 2e et 3ème": "première, deuxième et troisième",
    "n° 5, St-Denis": "numéro cinq, Saint-Denis",
    "2 + 2 = 4": "deux plus deux égale quatre",
    "contact@exemple.fr": "contact arobase exemple point fr",
    "Voilà ! 3 fois « oui » ?": "Voilà ! trois fois « oui » ?",
}
SPANISH = {
    "Cuesta 3,50 € o 1.234,56 $.": (
        "Cuesta tres euros con cincuenta o mil doscientos treinta y cuatro dólares con cincuenta y seis."
    ),
    "$5 millones": "cinco millones de dólares",
    "Son las 14:30, las 3:15 o la 1:00.": "Son las catorce treinta, las tres y quince o la una en punto.",
    "el 03/05/2024": "el tres de mayo de dos mil veinticuatro",
    "El siglo XXI y Felipe VI": "El siglo veintiuno y Felipe sexto",
    "El Sr. López de EE. UU., p. ej., etc.": "El Señor López de Estados Unidos, por ejemplo, etcétera.",
    "21 años, 1 hora, 31 días, 200 personas": "veintiún años, una hora, treinta y un días, doscientas personas",
    "1.º, 2.ª y 3er": "primero, segunda y tercer",
    "-5 °C y 50 %": "menos cinco grados Celsius y cincuenta por ciento",
    "3.5 y 3,05": "tres punto cinco y tres coma cero cinco",
    "5-10 km/h": "cinco a diez kilómetros por hora",
    "1/2 y 3/4": "un medio y tres cuartos",
    "1.234.567 habitantes": ("un millón doscientos treinta y cuatro mil quinientos sesenta y siete habitantes"),
    "n.º 5 y #1": "número cinco y número uno",
    "a@ejemplo.es": "a arroba ejemplo punto es",
    "a las 3 p. m.": "a las tres de la tarde.",
    "¿Tienes 2? ¡Sí!": "¿Tienes dos? ¡Sí!",
}
CHINESE = {
    "今天是2024年5月3日。": "今天是二零二四年五月三日。",
    "2024-05-03见": "二零二四年五月三日见",
    "价格是￥3.50，也就是$0.5。": "价格是三点五元，也就是零点五美元。",
    "我有2个苹果和12个梨。": "我有两个苹果和十二个梨。",
    "2000人，2万人，第2名": "两千人，两万人，第二名",
    "14:30见，2:05也行。": "十四点三十分见，两点零五分也行。",
    "气温-5°C，湿度50%。": "气温零下五摄氏度，湿度百分之五十。",
    "5~10%的人，5-10分钟": "百分之五到十的人，五到十分钟",
    "时速100km/h": "时速每小时一百公里",
    "3/4和3:1": "四分之三和三比一",
    "１２３元，3,500元": "一百二十三元，三千五百元",
    "电话13812345678": "电话一三八一二三四五六七八",
    "GPT-4很好": "GPT 四很好",
    "1. 苹果\n2. 梨": "一、苹果。二、梨",
    "# 标题\n内容": "标题。内容",
    "看https://example.com。": "看example 点 com。",
    "x=5": "x等于五",
    "0.5和3.5亿": "零点五和三点五亿",
}
JAPANESE = {
    "今日は2024年5月3日です。": "今日は二千二十四年五月三日です。",
    "3人で30分間待ちました。": "三人でさんじゅっぷん間待ちました。",
    "10分は十分": "じゅっぷんは十分",
    "10分の1": "十分の一",
    "価格は3,500円、$3.5です。": "価格は三千五百円、三点五ドルです。",
    "14:30に会いましょう。": "十四時さんじゅっぷんに会いましょう。",
    "気温は-5°C、湿度50%。": "気温はマイナス五度、湿度五十パーセント。",
    "時速100km/h": "時速百キロメートル",
    "5〜10人": "五から十人",
    "1/2と0.5": "二分の一と零点五",
    "03-1234-5678": "ゼロ三、一二三四、五六七八",
    "ｱｲｽ ＡＢＣ １２３": "アイス ABC 百二十三",
    "- りんご\n- みかん": "りんご。みかん",
    "2万5千人": "二万五千人",
    "**重要**です。": "重要です。",
}
KOREAN = {
    "지금은 3시 30분입니다.": "지금은 세 시 삼십분입니다.",
    "14:30에 만나요.": "십사 시 삼십 분에 만나요.",
    "사과 3개와 5명, 20살.": "사과 세 개와 다섯 명, 스무 살.",
    "6월 10일과 10월 6일": "유월 십일과 시월 육일",
    "2024-06-03": "이천이십사년 유월 삼일",
    "가격은 3,500원, $3.5입니다.": "가격은 삼천오백원, 삼 점 오 달러입니다.",
    "-5°C, 50%": "영하 오 도, 오십 퍼센트",
    "1번째, 2번째, 3개월": "첫 번째, 두 번째, 삼개월",
    "20대 남성 2명, 차 2대": "이십 대 남성 두 명, 차 두 대",
    "24시간과 3시간": "이십사 시간과 세 시간",
    "010-1234-5678": "공 일 공, 일 이 삼 사, 오 육 칠 팔",
    "시속 100km/h": "시속 백 킬로미터",
    "1/2, 5km, 21세기": "이분의 일, 오 킬로미터, 이십일세기",
    "a@b.com": "a 골뱅이 b 닷 com",
    "5-10분": "오 에서 십분",
}
OTHERS = {
    ("de", "Um 14:30 Uhr **3,50** und 1.234 😀"): (
        "Um vierzehn dreißig Uhr drei Komma fünf null und eintausendzweihundertvierunddreißig"
    ),
    ("de", "-5 € & 3 %"): "minus fünf € & drei %",
    ("pt", "Custa 3,5 e 21"): "Custa três vírgula cinco e vinte e um",
    ("ru", "У меня 21 книга"): "У меня двадцать один книга",
    ("hi", "मेरे पास 5 किताबें हैं।"): "मेरे पास पाँच किताबें हैं।",
    ("ar", "لدي ٣ كتب"): "لدي ثلاثة كتب",
    ("eu", "5 liburu, **gorria**"): "5 liburu, gorria",
    ("it", "# Titolo\nhttps://example.com"): "Titolo. example com",
}


def cases() -> list[tuple[str, str, str]]:
    tables = {"en": ENGLISH, "fr": FRENCH, "es": SPANISH, "zh": CHINESE, "ja": JAPANESE, "ko": KOREAN}
    return [(code, *case) for code, table in tables.items() for case in table.items()] + [
        (code, written, said) for (code, written), said in OTHERS.items()
    ]


@pytest.mark.parametrize(("language", "written", "said"), cases())
def test_what_is_written_is_said_as_people_say_it(language: str, written: str, said: str) -> None:
    assert Normalizer(language).speak(written).text == said


@pytest.mark.parametrize(("language", "written", "said"), cases())
def test_what_is_said_needs_nothing_more(language: str, written: str, said: str) -> None:
    assert Normalizer(language).speak(said).text == said


@pytest.mark.parametrize("language", SIX)
def test_every_unit_coin_and_sign_of_a_language_is_said_in_it(language: str) -> None:
    known = language_of(language)
    for sign in [*known.units, *known.currencies]:
        text = Normalizer(language).speak(f"3 {sign}").text
        assert known.cardinal(3) in text or known.counted(3) in text, sign
        assert sign not in text.split(), sign
        assert not set(text) & set("0123456789€$£¥₩²³°‰"), sign
    for sign, word in known.signs.items():
        assert word.strip() in Normalizer(language).speak(f"a {sign} b").text or sign == "$", sign


@pytest.mark.parametrize(
    ("written", "decimal", "whole", "part"),
    [
        ("1,234,567", ".", "1234567", ""),
        ("1,234.5", ".", "1234", "5"),
        (".5", ".", "0", "5"),
        ("1 234,5", ",", "1234", "5"),
        ("1.234", ",", "1234", ""),
        ("1.234.567,89", ",", "1234567", "89"),
        ("1.5", ",", "1", "5"),
        ("0.125", ",", "0", "125"),
        ("1,234.56", ",", "1234", "56"),
        ("-12", ",", "12", ""),
    ],
)
def test_thousands_and_decimals_are_read_as_the_language_writes_them(
    written: str, decimal: str, whole: str, part: str
) -> None:
    number = read_number(written, decimal)
    assert (number.whole, number.part, number.negative) == (whole, part, written[0] == "-")


@pytest.mark.parametrize("language", [*SIX, "de", "ru", "hi", "ar"])
def test_no_digit_is_left_of_any_whole_number(language: str) -> None:
    for number in [*range(130), 1000, 1001, 1999, 10_000, 123_456, 10**6, 10**9 + 1, 10**14, 10**15, 10**18, 10**30]:
        text = Normalizer(language).speak(str(number)).text
        assert text, number
        assert not any(character.isdigit() for character in text), number
