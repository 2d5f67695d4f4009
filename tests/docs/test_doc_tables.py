"""The tables of the documents that follow from the code, and the names in the documents that are to exist."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from speech_to_speech.config.profiles import PROFILES
from speech_to_speech.config.registry import BACKENDS
from speech_to_speech.config.settings import NAMES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
DOCUMENT = "Before.\n\n<!-- generated: {name} -->\n{table}<!-- end -->\n\nAfter.\n"


@pytest.fixture
def doc_tables(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    return importlib.import_module("doc_tables")


@pytest.fixture
def document(doc_tables: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only one, with the only table."""
    monkeypatch.setattr(doc_tables, "DOCUMENTS", [tmp_path / "some.md"])
    monkeypatch.setattr(doc_tables, "TABLES", {"of some": lambda: doc_tables.table(("a", "b"), [("1", "2")])})
    return tmp_path / "some.md"


def test_the_tables_of_the_documents_are_current(doc_tables: Any, capsys: pytest.CaptureFixture[str]) -> None:
    code = doc_tables.main(["--check"])
    assert (code, *capsys.readouterr()) == (0, "", "")


def test_every_table_is_in_a_document(doc_tables: Any) -> None:
    text = "".join(document.read_text() for document in doc_tables.DOCUMENTS)
    assert sorted(name for name, _ in doc_tables.BLOCK.findall(text)) == sorted(doc_tables.TABLES)


def test_what_is_out_of_date_is_named_and_written_anew(
    doc_tables: Any, document: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = DOCUMENT.format(name="of some", table="\n| a |\n|---|\n\n")
    document.write_text(old)
    assert doc_tables.main(["--check"]) == 1
    assert capsys.readouterr().out == "some.md: 'of some' is out of date; run `make format`\n"
    assert document.read_text() == old
    assert doc_tables.main([]) == 0
    assert document.read_text() == DOCUMENT.format(name="of some", table="\n| a | b |\n|---|---|\n| 1 | 2 |\n\n")
    assert capsys.readouterr().out == "some.md: 'of some' is written anew\n"
    assert doc_tables.main(["--check"]) == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (DOCUMENT.format(name="of none", table=""), "there is no table 'of none'; there are of some"),
        ("<!-- generated: of some -->\n", "lacks the other"),
        ("<!-- end -->\n", "lacks the other"),
        ("<!-- generated: of some -->\n" + DOCUMENT.format(name="of some", table=""), "lacks the other"),
    ],
)
def test_markers_that_can_not_be_understood(
    doc_tables: Any, document: Path, capsys: pytest.CaptureFixture[str], text: str, problem: str
) -> None:
    document.write_text(text)
    assert doc_tables.main([]) == 2
    assert problem in capsys.readouterr().err
    assert document.read_text() == text


def test_a_setting_of_turn_taking_needs_its_line(doc_tables: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(doc_tables.TURN_TAKING, "barge_in_ms")
    with pytest.raises(KeyError, match="barge_in_ms"):
        doc_tables.turn_taking()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_the_files_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text()
    files = re.findall(r"`((?:speech_to_speech|scripts|tests|benchmarks)/[\w/]+\.(?:py|md|sh))`", text)
    links = [link for link in re.findall(r"\]\(([\w./-]+)", text) if not link.startswith("http")]
    assert [file for file in files if not (ROOT / file).exists()] == []
    assert [link for link in links if not (document.parent / link).exists()] == []


def test_the_flags_profiles_and_backends_that_the_documents_name_exist(doc_tables: Any) -> None:
    text = "".join(document.read_text() for document in doc_tables.DOCUMENTS)
    of_backends = re.findall(r"`--(\w+)`", doc_tables.flags())
    assert set(re.findall(r"--([a-z]+_\w+)", text)) <= {*NAMES, *of_backends}
    assert set(re.findall(r"--profile (\w+)", text)) <= PROFILES.keys()
    assert set(re.findall(r"--(stt|llm|tts) ([\w-]+)", text)) <= BACKENDS.keys()
