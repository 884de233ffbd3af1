"""Reading a search: names, modifiers, result parameters, and what is refused (FHIR R4, search)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caretrail import errors
from caretrail.errors import ExpiredError, InvalidError, ParameterError
from caretrail.limits import SEARCH_COUNT_DEFAULT, SEARCH_COUNT_MAX, SEARCH_VALUES_MAX
from caretrail.search import cursor
from caretrail.search.cursor import Cursor
from caretrail.search.order import NEWEST_FIRST, Order
from caretrail.search.parameters import BY_CODE, PARAMETERS, Type
from caretrail.search.plan import compile_query
from caretrail.search.query import Query, Sort, parse
from caretrail.search.syntax import split, split_escaped, unescape
from caretrail.search.term import Not
from tests.search.test_values import BASE, agents, check, finds, parsed, record

KEY = b"k" * 32


def lenient(*pairs: tuple[str, str]) -> Query:
    return parse(pairs, strict=False, base=BASE)


def refused(*pairs: tuple[str, str], strict: bool = False) -> ParameterError:
    """Return the error that the search of the pairs is."""
    with pytest.raises(ParameterError) as error:
        parse(pairs, strict=strict, base=BASE)
    assert error.value.status == 400
    return error.value


# Names and modifiers

UNKNOWN = [
    ("colour", "blue"), ("colour:not", "blue"), ("Date", "2023"), ("TYPE", "rest"), ("period", "2023"),
    ("agent.name", "Ada"), ("patient.birthdate", "1990"), ("agent:Patient.name", "Ada"),
    ("agent:Foo-Bar.identifier", "1"), ("patient:Device.identifier", "1"), ("type:x.identifier", "1"),
    ("_has:Observation:patient:code", "1"), ("_filter", "x"), ("_list", "x"), ("", "x"), ("code", ""),
]  # fmt: skip


@pytest.mark.parametrize("pair", UNKNOWN)
def test_an_unknown_parameter_is_an_error_when_strict(pair: tuple[str, str]) -> None:
    error = refused(pair, strict=True)
    (issue,) = error.issues()
    code = pair[0].partition(":")[0]
    place = code if code in BY_CODE else ""
    assert (issue.code, issue.severity, issue.expression) == ("not-supported", "error", place)


@pytest.mark.parametrize("pair", UNKNOWN)
def test_an_unknown_parameter_is_left_out_and_told_when_lenient(pair: tuple[str, str]) -> None:
    query = lenient(pair, ("type", "rest"))
    assert query.applied == (("type", "rest"),)
    (issue,) = query.ignored
    assert (issue.code, issue.severity) == ("not-supported", "warning")
    # The name is the sender's own text, and may hold a patient's.
    assert not pair[0] or pair[0] not in issue.diagnostics
    assert finds(record(), query)


BAD_MODIFIERS = [
    "date:exact", "date:not", "date:", "type:exact", "type:contains", "type:in", "type:not-in", "type:above",
    "type:below", "type:Missing", "type:NOT", "type:of-type", "type:identifier", "agent:exact", "agent:not",
    "agent:Observation", "agent:patient", "agent:above", "patient:Device", "source:Group", "agent-name:text",
    "agent-name:not", "policy:not", "policy:contains", "sequence:not", "_content:missing", "_text:exact",
    "_id:of-type", "_lastUpdated:not", "user:text", "request-id:of-type", "agent.identifier:in",
    "agent.identifier:identifier", "agent:identifier:missing", "type:not:missing", "flag:below",
]  # fmt: skip


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", BAD_MODIFIERS)
@pytest.mark.parametrize("value", ["1", ""])
def test_a_modifier_that_the_parameter_does_not_have_is_always_an_error(
    name: str, value: str, strict: bool
) -> None:
    (issue,) = refused((name, value), strict=strict).issues()
    assert issue.code == "not-supported"
    assert issue.expression == name.partition(":")[0]


VALUES = {
    Type.TOKEN: "rest", Type.REFERENCE: "Patient/1", Type.STRING: "ada", Type.URI: "urn:x",
    Type.DATE: "2023", Type.NUMBER: "5", Type.SPECIAL: "ada",
}  # fmt: skip


# Without `_id:text`: an id has no display.
@pytest.mark.parametrize(
    ("code", "modifier"),
    [
        (row.code, modifier)
        for row in PARAMETERS
        for modifier in (None, *row.modifiers)
        if (row.code, modifier) != ("_id", "text")
    ],
)
def test_every_modifier_that_a_parameter_lists_can_be_searched(
    code: str, modifier: str | None
) -> None:
    parameter = BY_CODE[code]
    value = {"missing": "true", "of-type": "a|b|c"}.get(modifier or "", VALUES[parameter.type])
    pair = (f"{code}:{modifier}" if modifier else code, value)
    query = parsed(pair)
    assert query.applied == (pair,)
    assert query.clauses[0].missing is (True if modifier == "missing" else None)
    finds(record(), query)


@pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: row.code)
def test_every_parameter_has_one_canonical_url(row: Any) -> None:
    known = "http://hl7.org/fhir/SearchParameter/"
    url = row.url
    if row.code.startswith("_"):
        assert url == known + "Resource-" + row.code[1:]
    else:
        assert url in (
            known + "AuditEvent-" + row.code,
            "urn:caretrail:SearchParameter:" + row.code,
        )
    assert [one.url for one in PARAMETERS].count(url) == 1


def test_the_parameters_of_r4_have_the_urls_of_hl7() -> None:
    ours = [row.url for row in PARAMETERS if "AuditEvent-" in row.url]
    assert len(ours) == 18


@pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: row.code)
def test_missing_is_the_opposite_of_not_missing(row: Any) -> None:
    if row.type is Type.SPECIAL:
        return
    full = record(
        action="R", outcome="0", outcomeDesc="x", subtype=[{"code": "a"}], purposeOfEvent=[{"text": "x"}],
        meta={"profile": ["urn:p"], "security": [{"code": "R"}], "tag": [{"code": "t"}], "source": "urn:s"},
        agent=[{"requestor": True, "altId": "a", "name": "n", "role": [{"text": "x"}], "policy": ["urn:x"],
                "who": {"identifier": {"value": "1"}, "type": "Patient"}, "network": {"address": "h", "type": "1"}}],
        source={"site": "s", "observer": {"identifier": {"value": "1"}}},
        entity=[{"what": {"identifier": {"value": "1"}}, "role": {"code": "1"}, "name": "n",
                 "type": {"system": "https://profiles.ihe.net/ITI/BALP/CodeSystem/BasicAuditEntityType", "code": "XrequestId"}}],
    )  # fmt: skip
    always = row.code in ("date", "source", "type", "_id", "_lastUpdated", "sequence")
    name = row.code + ":missing"
    for stored, present in ((full, row.code != "flag"), (record(), always)):
        check(stored, [(name, "true", not present), (name, "false", present)])


@pytest.mark.parametrize("value", ["yes", "TRUE", "1", "true,false"])
def test_missing_is_true_or_false(value: str) -> None:
    assert "true or false" in str(refused(("type:missing", value)))


def test_the_address_of_this_repository_may_end_with_a_slash() -> None:
    query = parse([("agent", BASE + "/Device/1")], strict=True, base=BASE + "/")
    assert finds(agents({"reference": "Device/1"}), query)


# Values


def test_a_parameter_without_a_value_is_ignored() -> None:
    query = parsed(("type", ""), ("date", ""), ("_elements", ""), ("_elements", " , "))
    assert query == Query()
    assert compile_query(query).node is None


def test_a_list_without_values_is_refused() -> None:
    assert refused(("type", ",")).issues()[0].expression == "type"


def test_empty_places_of_a_list_are_ignored() -> None:
    check(record(), [("type", ",rest,,", True)])


def test_too_many_values_are_refused() -> None:
    most = ",".join(str(number) for number in range(SEARCH_VALUES_MAX))
    assert len(parsed(("type", most)).clauses[0].values) == SEARCH_VALUES_MAX
    assert str(SEARCH_VALUES_MAX) in str(refused(("type", most + ",x")))
    refused(("type", most), ("subtype", "x"))


def test_every_problem_is_told_at_once_with_its_parameter() -> None:
    error = refused(("date", "x"), ("type", "|"), ("_count", "-1"), ("type", "rest"))
    assert [issue.expression for issue in error.issues()] == ["date", "type", "_count"]
    assert all(issue.diagnostics in str(error) for issue in error.issues())
    assert isinstance(error, InvalidError)


def test_no_problem_repeats_what_was_sent() -> None:
    secret = "Hieronymus-1234"
    for name in (
        "date",
        "type:missing",
        "sequence",
        "agent:Device",
        "_summary",
        "_count",
        "_total",
    ):
        text = str(refused((name, "Patient/" + secret if name == "agent:Device" else secret)))
        assert secret not in text


def test_an_error_without_a_list_of_problems_has_one() -> None:
    (issue,) = ExpiredError("search again").issues()
    assert (issue.code, issue.diagnostics, issue.expression) == ("expired", "search again", "")
    (issue,) = errors.InvalidError("wrong").issues()
    assert (issue.code, issue.diagnostics) == ("invalid", "wrong")


# Result parameters


@pytest.mark.parametrize(
    ("value", "count"),
    [("1", 1), ("50", 50), ("007", 7), ("999999999", SEARCH_COUNT_MAX), (str(SEARCH_COUNT_MAX), SEARCH_COUNT_MAX)],
)  # fmt: skip
def test_a_count_is_capped(value: str, count: int) -> None:
    query = parsed(("_count", value))
    assert query.count == count
    assert query.applied == (("_count", value),)


def test_a_count_of_zero_asks_for_the_total_only() -> None:
    query = parsed(("_count", "0"))
    assert query.summary == "count"
    assert query.count == SEARCH_COUNT_DEFAULT


@pytest.mark.parametrize("value", ["-1", "+1", "1.0", "x", "", " 1", "٣", "1000000000"])
def test_what_is_no_count_is_refused(value: str) -> None:
    assert refused(("_count", value)).issues()[0].expression == "_count"


@pytest.mark.parametrize("name", ["_total", "_summary"])
def test_a_choice_is_one_of_its_words(name: str) -> None:
    words = {"_total": "none estimate accurate", "_summary": "true text data count false"}[name]
    for word in words.split():
        query = parsed((name, word))
        assert getattr(query, name[1:]) == word
        assert query.applied == ((name, word),)
    for word in ("True", "all", "", "true,text"):
        refused((name, word))


def test_elements_are_names_with_or_without_the_type() -> None:
    query = parsed(("_elements", "agent, AuditEvent.type,"), ("_elements", "source"))
    assert query.elements == ("agent", "type", "source")


@pytest.mark.parametrize("summary", ["true", "text", "data", "count"])
def test_elements_and_a_summary_cannot_be_combined(summary: str) -> None:
    assert "_elements" in str(refused(("_elements", "agent"), ("_summary", summary)))
    assert "_elements" in str(refused(("_summary", summary), ("_elements", "agent")))


def test_elements_may_stand_beside_no_summary() -> None:
    assert parsed(("_elements", "agent"), ("_summary", "false")).elements == ("agent",)


def test_an_include_and_a_summary_of_texts_cannot_be_combined() -> None:
    assert "_include" in str(refused(("_include", "*"), ("_summary", "text")))
    assert parsed(("_include", "*"), ("_summary", "data")).include == ("*",)


def test_includes_are_of_what_is_kept_here() -> None:
    pairs = [("_include", "AuditEvent:entity:AuditEvent"), ("_include:iterate", "AuditEvent:*"), ("_revinclude", "AuditEvent:entity")]  # fmt: skip
    query = parsed(*pairs)
    assert query.include == ("AuditEvent:entity:AuditEvent", "AuditEvent:*")
    assert query.revinclude == ("AuditEvent:entity",)
    assert query.applied == tuple(pairs)


@pytest.mark.parametrize(
    "value", ["AuditEvent:agent", "AuditEvent:entity:Patient", "Patient:x", ""]
)
def test_other_includes_follow_the_rule_of_unknown_parameters(value: str) -> None:
    refused(("_include", value), strict=True)
    query = lenient(("_include", value))
    assert (query.include, query.applied, len(query.ignored)) == ((), (), 1)


def test_what_the_content_negotiation_reads_is_no_search() -> None:
    assert parsed(("_format", "json"), ("_pretty", "true"), ("_outputFormat", "x")) == Query()


def test_a_page_is_kept_and_is_no_part_of_the_search() -> None:
    query = parsed(("_page", "abc"), ("type", "rest"))
    assert query.page == "abc"
    assert query.applied == (("type", "rest"),)


# Order


def test_the_newest_come_first_unless_another_order_is_asked_for() -> None:
    assert Order.of(Query()).sort == NEWEST_FIRST
    assert Order.of(Query()).natural == "date"
    assert Order.of(Query()).descending
    assert not Order.of(Query()).turned().descending
    assert Order.of(Query()).turned().turned() == Order.of(Query())


def test_sort_keys_are_read_in_order() -> None:
    query = parsed(("_sort", "-date, type"), ("_sort", "-_id"))
    assert query.sort == tuple(
        Sort(BY_CODE[code], code != "type") for code in ("date", "type", "_id")
    )
    assert query.applied == (("_sort", "-date,type"), ("_sort", "-_id"))


@pytest.mark.parametrize("value", ["colour", "_content", "--date", "-", "Date", "date:missing"])
def test_an_unknown_sort_key_is_left_out_or_an_error(value: str) -> None:
    refused(("_sort", f"date,{value}"), strict=True)
    query = lenient(("_sort", f"date,{value}"))
    assert query.applied == (("_sort", "date"),)
    assert len(query.ignored) == 1
    assert lenient(("_sort", value)).applied == ()


@pytest.mark.parametrize(
    ("sort", "natural"),
    [("date", "date"), ("-_lastUpdated", "entry"), ("sequence", "entry"), ("type", None), ("date,type", None)],
)  # fmt: skip
def test_an_order_says_whether_the_stores_keys_give_it(sort: str, natural: str | None) -> None:
    assert Order.of(parsed(("_sort", sort))).natural == natural


def _ordered(sort: str, *records: Any, backward: bool = False) -> list[int]:
    order = Order.of(parsed(("_sort", sort)))
    order = order.turned() if backward else order
    return [one.entry for one in sorted(records, key=order.key())]


def test_an_event_without_a_value_comes_last_in_either_direction() -> None:
    rows = [record(entry=1, action="U"), record(entry=2), record(entry=3, action="C")]
    assert _ordered("action", *rows) == [3, 1, 2]
    assert _ordered("-action", *rows) == [1, 3, 2]
    assert _ordered("action", *rows, backward=True) == [2, 1, 3]
    assert _ordered("-action", *rows, backward=True) == [2, 3, 1]


def test_of_several_values_the_lowest_or_the_highest_counts() -> None:
    wide = record(entry=1, subtype=[{"code": "b"}, {"code": "y"}])
    narrow = record(entry=2, subtype=[{"code": "c"}, {"code": "d"}])
    assert _ordered("subtype", wide, narrow) == [1, 2]
    assert _ordered("-subtype", wide, narrow) == [1, 2]


def test_events_with_equal_values_are_in_the_order_of_the_log() -> None:
    rows = [record(entry=entry) for entry in (3, 1, 2)]
    assert _ordered("type", *rows) == [1, 2, 3]
    assert _ordered("-type", *rows) == [3, 2, 1]
    assert _ordered("outcome", *rows) == [1, 2, 3]


def test_dates_are_ordered_exactly() -> None:
    instants = ["2023-05-01T10:00:00.1234567891Z", "2023-05-01T12:00:00.123456789+02:00", "2023-05-01T10:00:00Z"]  # fmt: skip
    rows = [record(entry=entry, recorded=text) for entry, text in enumerate(instants)]
    assert _ordered("date", *rows) == [2, 1, 0]
    assert _ordered("-date", *rows) == [0, 1, 2]


def test_texts_references_and_uris_can_be_ordered() -> None:
    rows = [
        agents({"reference": "B/1"}, entry=1, outcomeDesc="äb", meta={"profile": ["urn:b"]}),
        agents({"identifier": {"value": "A"}}, entry=2, outcomeDesc="AA", meta={"profile": ["urn:a"]}),
        agents({"display": "C"}, entry=3, outcomeDesc="c"),
        agents({"type": "Device"}, entry=4),
    ]  # fmt: skip
    assert _ordered("agent", *rows) == [2, 1, 3, 4]
    assert _ordered("outcome-desc", *rows) == [2, 1, 3, 4]
    assert _ordered("_profile", *rows) == [2, 1, 3, 4]
    assert _ordered("-sequence", *rows) == [4, 3, 2, 1]
    assert _ordered("_lastUpdated", *rows) == [1, 2, 3, 4]


def test_a_concept_without_a_code_is_ordered_by_its_text() -> None:
    rows = [
        record(entry=1, purposeOfEvent=[{"coding": [{"system": "urn:x"}]}]),
        record(entry=2, purposeOfEvent=[{"text": "b"}]),
        record(entry=3, purposeOfEvent=[{"coding": [{"code": "a"}]}]),
    ]
    assert _ordered("purpose", *rows) == [3, 2, 1]


# Plans


def test_a_search_of_nothing_in_particular_looks_at_everything() -> None:
    plan = compile_query(Query())
    assert plan.exact
    assert plan.node is None
    assert not plan.empty


@pytest.mark.parametrize(
    "pairs",
    [
        [("date", "2022"), ("date", "2023")],
        [("_lastUpdated", "lt2023"), ("_lastUpdated", "gt2023")],
        [("sequence", "1"), ("sequence", "2")],
        [("_id", "a"), ("_id", "b")],
        [("date:missing", "true")],
    ],
)  # fmt: skip
def test_a_search_that_nothing_can_fit_is_known_at_once(pairs: list[tuple[str, str]]) -> None:
    assert compile_query(parsed(*pairs)).empty
    assert not finds(record(), parsed(*pairs))


def test_only_what_the_index_knows_exactly_is_taken_away() -> None:
    exact = compile_query(parsed(("type:not", "a,b")))
    assert isinstance(exact.node, Not)
    assert exact.exact
    compared = compile_query(parsed(("user:not", "ada")))
    assert compared.node is None
    assert not compared.exact


# Escapes


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]), (r"a\,b", ["a,b"]), (r"a\\,b", ["a\\", "b"]), (r"a\\\,b", ["a\\,b"]),
        ("", [""]), (",", ["", ""]), ("a\\", ["a\\"]), (r"\a,b", [r"\a", "b"]), (r"\$\|", ["$|"]),
    ],
)  # fmt: skip
def test_a_list_is_split_where_no_escape_is(text: str, parts: list[str]) -> None:
    assert split(text, ",") == parts


@given(parts=st.lists(st.text("ab\\,|$"), min_size=1))
def test_escaping_and_splitting_gives_back_every_list(parts: list[str]) -> None:
    def escape(text: str) -> str:
        for char in "\\,|$":
            text = text.replace(char, "\\" + char)
        return text

    joined = ",".join(map(escape, parts))
    assert split(joined, ",") == parts
    assert [unescape(part) for part in split_escaped(joined, ",")] == parts


# Cursors

SEARCH = (("type", "rest"), ("date", "ge2023"), ("_sort", "-date"))
PLACE = [[1_685_000_000, "123"], 7]


def test_a_cursor_comes_back_as_it_was() -> None:
    for made in (
        Cursor(PLACE, 8, 5),
        Cursor([None, "ä", 7], 8, None, estimated=True, backward=True),
    ):
        text = made.encode(parsed(*SEARCH), key=KEY)
        assert text.isascii()
        assert not set(text) & set("+/=&?")
        assert cursor.decode(text, parsed(*SEARCH), key=KEY) == made


@pytest.mark.parametrize(
    "more",
    [("_count", "7"), ("_total", "none"), ("_summary", "data"), ("_elements", "agent"), ("_include", "*"), ("_format", "xml"), ("_page", "x")],
)  # fmt: skip
def test_a_page_may_have_another_size_and_form(more: tuple[str, str]) -> None:
    text = Cursor(PLACE, 8, 5).encode(parsed(*SEARCH), key=KEY)
    assert cursor.decode(text, parsed(*reversed(SEARCH), more), key=KEY) == Cursor(PLACE, 8, 5)


@pytest.mark.parametrize(
    "pairs",
    [
        (), SEARCH[:2], (*SEARCH, ("action", "R")), (*SEARCH, SEARCH[0]), (("type", "x"), *SEARCH[1:]),
        (("type:not", "rest"), *SEARCH[1:]), (*SEARCH[:2], ("_sort", "date")),
    ],
)  # fmt: skip
def test_a_cursor_of_another_search_has_expired(pairs: tuple[tuple[str, str], ...]) -> None:
    text = Cursor(PLACE, 8, 5).encode(parsed(*SEARCH), key=KEY)
    with pytest.raises(ExpiredError) as error:
        cursor.decode(text, parsed(*pairs), key=KEY)
    assert error.value.status == 410


def test_a_cursor_of_another_log_has_expired() -> None:
    text = Cursor(PLACE, 8, 5).encode(parsed(*SEARCH), key=KEY)
    with pytest.raises(ExpiredError):
        cursor.decode(text, parsed(*SEARCH), key=b"other")


@given(at=st.integers(0, 10_000), letter=st.sampled_from("abcXYZ019-_"))
def test_a_cursor_that_was_changed_has_expired(at: int, letter: str) -> None:
    text = Cursor(PLACE, 8, 5).encode(parsed(*SEARCH), key=KEY)
    at %= len(text) - 1  # The last letter has bits that say nothing.
    if text[at] == letter:
        return
    with pytest.raises(ExpiredError):
        cursor.decode(text[:at] + letter + text[at + 1 :], parsed(*SEARCH), key=KEY)


@pytest.mark.parametrize("text", ["", "a", "abc", "ä", "\0", "====", "1" * 8_193, "A" * 4_000])
def test_what_is_no_cursor_has_expired(text: str) -> None:
    with pytest.raises(ExpiredError):
        cursor.decode(text, parsed(*SEARCH), key=KEY)


def test_a_cursor_that_was_cut_has_expired() -> None:
    text = Cursor(PLACE, 8, 5).encode(parsed(*SEARCH), key=KEY)
    for end in range(len(text)):
        with pytest.raises(ExpiredError):
            cursor.decode(text[:end], parsed(*SEARCH), key=KEY)
