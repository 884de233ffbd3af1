"""Terms: what letters they have, how a text is spelt in them, and that long ones are still found."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from caretrail.errors import InvalidError
from caretrail.fhir import intake
from caretrail.limits import EVENT_BYTES_REMEMBERED, TERM_CHARACTERS_MAX, WORDS_MAX
from caretrail.search import displays, index, token
from caretrail.search.elements import Facts
from caretrail.search.term import NOTHING, Or, digest, spell, spell_prefix, spell_whole, unspell
from caretrail.search.text import OVERFLOW, WORDS
from tests.search import strategies as world
from tests.search.test_values import MINIMAL, agents, check, finds, holds, parsed, record

# U+E100 to U+E1FF, of private use, are the spelling of U+0100 to U+01FF, and do not come back.
texts = st.text(st.characters(exclude_categories=["Cs", "Co"]), max_size=300)
fhir_texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=80)


def _is_kept(letter: str) -> bool:
    """Tell whether the tokenizer `ascii` of SQLite's FTS5 keeps a letter as it is."""
    return not letter.isascii() or letter.islower() or letter.isdigit()


@given(text=st.text(max_size=300))
def test_a_spelling_holds_only_letters_that_the_tokenizer_keeps(text: str) -> None:
    assert all(map(_is_kept, spell(text) + spell_prefix(text) + spell_whole(text)))


@given(text=texts)
def test_a_spelt_text_comes_back(text: str) -> None:
    assert unspell(spell_whole(text)) == (text, True)
    assert unspell(spell(text)) == (
        text[:TERM_CHARACTERS_MAX],
        len(text) <= TERM_CHARACTERS_MAX,
    )


@given(text=st.text(max_size=300), other=texts)
def test_the_spelling_of_a_prefix_is_a_prefix(text: str, other: str) -> None:
    for end in range(len(text) + 1):
        assert spell(text).startswith(spell_prefix(text[:end]))
        assert spell_whole(text).startswith(spell_whole(text[:end]))
    assert spell_prefix(text + other).startswith(spell_prefix(text))


@given(one=texts, other=texts)
def test_two_texts_have_two_spellings(one: str, other: str) -> None:
    assume(one != other)
    assert spell_whole(one) != spell_whole(other)


def test_what_is_absent_has_a_digest_that_no_text_has() -> None:
    assert digest(None, 4) == "x" * 8
    assert digest("", 4) != digest(None, 4)
    assert len(digest("a", 6)) == 12
    assert set(digest("a", 6)) <= set("0123456789abcdef")
    assert digest("a\ud800", 6) != digest("a", 6)


def test_nothing_fits_a_choice_of_nothing() -> None:
    assert Or(()) == NOTHING
    assert not holds(NOTHING, {"anything"})


@st.composite
def events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event whose texts may hold anything that FHIR allows."""
    coding = {
        "system": "urn:" + draw(st.text("aZ09/|%ü", max_size=9)),
        "code": draw(st.text("aZ09.-ü", min_size=1)),
        "display": draw(fhir_texts),
    }
    who = {
        "reference": "Device/" + draw(st.text("aZ09.-", min_size=1, max_size=64)),
        "identifier": {"value": draw(fhir_texts)},
        "display": draw(fhir_texts),
    }
    agent = {
        "requestor": draw(st.booleans()),
        "who": who,
        "name": draw(fhir_texts),
        "altId": draw(fhir_texts),
        "policy": ["urn:" + draw(st.text("aZ09/|%ü", max_size=200))],
        "role": [{"text": draw(fhir_texts)}],
    }
    entity = {"what": who, "name": draw(fhir_texts), "description": draw(fhir_texts)}
    members = {
        "type": coding,
        "outcomeDesc": draw(fhir_texts),
        "agent": [agent],
        "entity": [entity],
    }
    return MINIMAL | members


@settings(deadline=None)
@given(event=events())
def test_the_tokenizer_gives_back_every_term_of_an_event(event: dict[str, Any]) -> None:
    """Let SQLite itself break the terms of an event, as the store does."""
    try:
        intake.parse(msgspec.json.encode(event))
    except InvalidError:
        assume(False)
    terms = index.terms(record(**event))
    database = sqlite3.connect(":memory:")
    try:
        database.execute(
            "CREATE VIRTUAL TABLE term USING fts5(terms, detail=none, tokenize='ascii')"
        )
        database.execute("INSERT INTO term VALUES (?)", (" ".join(terms),))
        database.execute("CREATE VIRTUAL TABLE found USING fts5vocab(term, 'row')")
        found = {row[0] for row in database.execute("SELECT term FROM found")}
    finally:
        database.close()
    assert found == terms


def test_the_shape_of_an_event_names_the_parameters_that_it_has() -> None:
    (shape,) = (term for term in index.terms(record()) if term.startswith(index.SHAPE))
    assert {shape[at : at + 2] for at in range(2, len(shape), 2)} == {"ty", "so"}


def test_the_producer_and_the_organisation_are_terms() -> None:
    terms = index.terms(record())
    assert {index.PRODUCER + "ehr", index.ORGANISATION + "clinic"} <= terms
    alone = index.terms(record()._replace(organisation=""))
    assert not any(term.startswith(index.ORGANISATION) for term in alone)


# Too many words, and texts that are too long


def _described(count: int) -> Any:
    words = [f"word{number}" for number in range(count)]
    return record(entity=[{"description": " ".join(words[at::3])} for at in range(3)])


@pytest.mark.parametrize("count", [WORDS_MAX - 1, WORDS_MAX, WORDS_MAX + 1, 3 * WORDS_MAX])
def test_an_event_of_many_words_is_found_by_each_of_them(count: int) -> None:
    stored = _described(count)
    wanted = [f"word{number}" for number in (0, 1, count // 2, count - 2, count - 1)]
    check(stored, [("_content", word, True) for word in (*wanted, "wor*", " ".join(wanted))])
    check(stored, [("_content", "nobody", False), ("_text", "word0 nobody", False)])


def test_the_index_keeps_no_more_words_than_it_may() -> None:
    # One more is the word of the source's display.
    few = [t for t in index.terms(_described(WORDS_MAX - 1)) if t.startswith(WORDS)]
    assert len(few) == WORDS_MAX
    many = [t for t in index.terms(_described(WORDS_MAX)) if t.startswith(WORDS)]
    assert many == [WORDS + OVERFLOW]


@pytest.mark.parametrize("length", [119, 120, 121, 1_000])
def test_a_long_word_is_found(length: int) -> None:
    word = "w" * length
    for stored in (record(outcomeDesc=word), record(entity=[{"description": word}])):
        rows = [("_content", word, True), ("_content", word[:110] + "*", True)]
        rows += [("_content", word[:119] + "*", True), ("_content", word + "*", True)]
        check(stored, [*rows, ("_content", word + "x", False), ("_content", word + "x*", False)])


def _long(characters: int) -> str:
    text = "Begin " + "middle " * (characters // 7)
    return text[: characters - 4] + " end"


@pytest.mark.parametrize("length", [3_990, 4_000, 4_001, 4_010, 20_000])
def test_a_very_long_display_is_found_by_its_beginning_and_its_words(length: int) -> None:
    stored = record(type={"code": "a", "display": _long(length)})
    rows = [
        ("type:text", "begin middle", True),
        ("type:text", _long(length)[:3_000], True),
        ("type:text", "middle", False),
        ("_content", "begin end", True),
        ("_content", "mid* end", True),
        ("_content", "nobody", False),
    ]
    check(stored, rows)


def test_many_long_displays_are_found_and_make_terms_that_are_not_too_long() -> None:
    codings = [
        {"code": f"c{at}", "display": f"D{at} " + "x" * 1_500 + f" e{at}"} for at in range(9)
    ]
    stored = record(subtype=codings)
    rows = [("subtype:text", f"d{at} x", True) for at in range(9)]
    rows += [("_content", f"e{at}", True) for at in range(9)]
    check(stored, [*rows, ("subtype:text", "d9", False), ("_tag:text", "d1", False)])
    terms = [t for t in index.terms(stored) if t.startswith(displays.DISPLAYS)]
    assert len(terms) > 1
    assert max(map(len, terms)) <= displays.CHARACTERS_MAX + 10


def test_an_event_without_displays_has_no_term_for_them() -> None:
    assert list(displays.terms(())) == []
    assert not finds(record(), parsed(("type:text", "x")))


def test_the_displays_of_an_event_are_shown_with_their_parameter() -> None:
    stored = agents({"identifier": {"value": "1", "type": {"text": "MRN"}}}, type={"display": "t", "code": "c"})  # fmt: skip
    assert sorted(index.shown(Facts(stored))) == [("ai", "MRN"), ("ty", "t")]


@given(event=st.one_of(events(), world.event))
def test_terms_made_part_by_part_are_those_of_the_whole(event: dict[str, Any]) -> None:
    """Of a large event nothing is remembered: all terms are made at once, by the same rows."""
    body = msgspec.json.encode(event)
    try:
        found = intake.parse(body)
    except InvalidError:
        assume(False)
    stored = record()._replace(event=found.event, body=body)
    large = stored._replace(body=bytes(EVENT_BYTES_REMEMBERED + 1))
    assert index.terms(stored) == index.terms(large)


def test_a_long_code_has_the_same_term_remembered_or_not() -> None:
    for code in (None, "x", "x" * 300):
        assert token.known_term("ty", "urn:x", code) == token.term("ty", "urn:x", code)


def test_a_code_of_a_long_system_is_not_remembered() -> None:
    system = "urn:" + "x" * 300
    before = token._known_term.cache_info().currsize
    assert token.known_term("ty", system, "c") == token.term("ty", system, "c")
    assert token._known_term.cache_info().currsize == before
