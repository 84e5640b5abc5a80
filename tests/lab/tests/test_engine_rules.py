"""The rules of the type data, as pure functions over plain data."""

from __future__ import annotations

from typing import Any

import pytest

from tests.lab.azure import paths, rules, typedata
from tests.lab.azure.errors import ArmError
from tests.lab.azure.typedata import TypeDataError


def facts(stored: dict[str, Any] | None = None, **values: Any) -> rules.Facts:
    """Facts of a write at 2024-01-01."""
    return rules.Facts(api_version="2024-01-01", create=stored is None, stored=stored, values=values)


def run(
    body: dict[str, Any], *entries: dict[str, Any], stored: dict[str, Any] | None = None, merge: bool = False
) -> Any:
    """The stored body after all steps, or the error's code."""
    loaded = typedata._rules([_with_source(entry) for entry in entries], "test")
    try:
        out = rules.prepare(loaded, body, facts(stored), merge=merge)
        rules.finish(loaded, out, facts(stored))
    except ArmError as error:
        return error.code
    return out


def _with_source(entry: dict[str, Any]) -> dict[str, Any]:
    return {**entry, "source": "test"}


P = "properties"
TABLE: list[tuple[str, dict[str, Any], list[dict[str, Any]], dict[str, Any] | None, Any]] = [
    ("default fills what is absent", {P: {}}, [{"default": "properties.a", "value": 1}], None, {P: {"a": 1}}),
    ("default fills null", {P: {"a": None}}, [{"default": "properties.a", "value": 1}], None, {P: {"a": 1}}),
    ("default leaves a value", {P: {"a": 0}}, [{"default": "properties.a", "value": 1}], None, {P: {"a": 0}}),
    (
        "default from another value",
        {P: {"b": 2}},
        [{"default": "properties.a", "from": "properties.b"}],
        None,
        {P: {"b": 2, "a": 2}},
    ),
    (
        "default in each element, by that element's own condition",
        {"l": [{"k": "x"}, {"k": "y"}]},
        [{"default": "l[].d", "value": 1, "when": {"path": "l[].k", "equals": "X"}}],
        None,
        {"l": [{"k": "x", "d": 1}, {"k": "y"}]},
    ),
    (
        "default without its parent",
        {P: {}},
        [{"default": "properties.o.a", "value": 1, "make_parent": False}],
        None,
        {P: {}},
    ),
    ("required", {P: {}}, [{"required": ["properties.a"]}], None, "InvalidRequestContent"),
    ("required with its own code", {P: {}}, [{"required": ["properties.a"], "code": "Own"}], None, "Own"),
    ("required in each element", {"l": [{"a": 1}, {}]}, [{"required": ["l[].a"]}], None, "InvalidRequestContent"),
    (
        "required if another is there",
        {P: {}},
        [{"required": ["properties.o.a"], "if_present": "properties.o"}],
        None,
        {P: {}},
    ),
    ("required only at create", {P: {}}, [{"required": ["properties.a"], "on": "create"}], {P: {"a": 1}}, {P: {}}),
    ("read only is dropped", {P: {"a": 9}}, [{"read_only": ["properties.a"]}], None, {P: {}}),
    ("read only keeps what was stored", {P: {"a": 9}}, [{"read_only": ["properties.a"]}], {P: {"a": 1}}, {P: {"a": 1}}),
    (
        "read only refused",
        {P: {"a": 9}},
        [{"read_only": ["properties.a"], "refuse": True}],
        {P: {"a": 1}},
        "ReadOnlyProperty",
    ),
    (
        "immutable, the same in another case",
        {P: {"a": "X"}},
        [{"immutable": ["properties.a"]}],
        {P: {"a": "x"}},
        {P: {"a": "X"}},
    ),
    (
        "immutable, changed",
        {P: {"a": "y"}},
        [{"immutable": ["properties.a"]}],
        {P: {"a": "x"}},
        "PropertyChangeNotAllowed",
    ),
    ("immutable, left out", {P: {}}, [{"immutable": ["properties.a"]}], {P: {"a": "x"}}, {P: {"a": "x"}}),
    (
        "immutable, left out is a change",
        {P: {}},
        [{"immutable": ["properties.a"], "removal": "refuse"}],
        {P: {"a": "x"}},
        "PropertyChangeNotAllowed",
    ),
    (
        "immutable in elements, matched by name",
        {"l": [{"name": "b", "v": 2}, {"name": "a", "v": 1}]},
        [{"immutable": ["l[].v"]}],
        {"l": [{"name": "a", "v": 1}, {"name": "b", "v": 2}]},
        {"l": [{"name": "b", "v": 2}, {"name": "a", "v": 1}]},
    ),
    (
        "enum gets its canonical spelling",
        {"a": "sTandard"},
        [{"enum": ["a"], "values": ["Standard"]}],
        None,
        {"a": "Standard"},
    ),
    ("enum, unknown", {"a": "x"}, [{"enum": ["a"], "values": ["Standard"]}], None, "InvalidParameter"),
    ("enum, open", {"a": "x"}, [{"enum": ["a"], "values": ["Standard"], "open": True}], None, {"a": "x"}),
    (
        "enum, exact casing",
        {"a": "standard"},
        [{"enum": ["a"], "values": ["Standard"], "match": "exact"}],
        None,
        "InvalidParameter",
    ),
    (
        "enum, echoed",
        {"a": "standard"},
        [{"enum": ["a"], "values": ["Standard"], "match": "echo"}],
        None,
        {"a": "standard"},
    ),
    ("cidr", {"a": "10.0.0.0/33"}, [{"value": ["a"], "format": "cidr"}], None, "InvalidParameter"),
    ("number out of range", {"a": 9}, [{"value": ["a"], "type": "integer", "max": 8}], None, "InvalidParameter"),
    ("a boolean is no number", {"a": True}, [{"value": ["a"], "type": "integer"}], None, "InvalidParameter"),
    ("pattern", {"a": "A"}, [{"value": ["a"], "pattern": "[a-z]"}], None, "InvalidParameter"),
    ("members", {P: {"x": 1}}, [{"members": "properties", "names": ["a"]}], None, "InvalidRequestFormat"),
    (
        "members, forgotten",
        {P: {"x": 1}},
        [{"members": "properties", "names": ["a"], "unknown": "drop"}],
        None,
        {P: {}},
    ),
    ("host becomes a network", {"a": "1.2.3.4"}, [{"normalize": ["a"], "to": "host_cidr"}], None, {"a": "1.2.3.4/32"}),
    ("forbidden", {"a": 1, "b": 2}, [{"forbid": ["a"], "when": {"path": "b", "equals": 2}}], None, "InvalidParameter"),
    (
        "forbidden otherwise",
        {"a": 1, "b": 3},
        [{"forbid": ["a"], "when": {"path": "b", "equals": 2}}],
        None,
        {"a": 1, "b": 3},
    ),
    ("unique", {"l": [{"k": 1}, {"k": 1}]}, [{"unique": ["k"], "in": "l"}], None, "InvalidParameter"),
    ("override", {P: {"a": 1}}, [{"override": "properties.a", "value": 2}], None, {P: {"a": 2}}),
    (
        "computed once",
        {P: {"a": "mine"}},
        [{"computed": "properties.a", "value": "new"}],
        {P: {"a": "old"}},
        {P: {"a": "old"}},
    ),
    ("computed at first", {P: {"a": "mine"}}, [{"computed": "properties.a", "value": "new"}], None, {P: {"a": "new"}}),
    (
        "computed at each write",
        {P: {}},
        [{"computed": "properties.a", "value": "new", "each_write": True}],
        {P: {"a": "old"}},
        {P: {"a": "new"}},
    ),
    ("null is absent", {P: {"a": None, "b": 1}}, [], None, {P: {"b": 1}}),
    ("null that is kept", {P: {"a": None}}, [{"keep_null": ["properties.a"]}], None, {P: {"a": None}}),
    ("keep", {P: {}}, [{"keep": ["properties.a"]}], {P: {"a": 1, "b": 2}}, {P: {"a": 1}}),
    ("drop", {P: {"a": 1}}, [{"drop": ["properties.a"]}], None, {P: {}}),
    (
        "a rule of a later version",
        {P: {}},
        [{"required": ["properties.a"], "api_version": ">2024-01-01"}],
        None,
        {P: {}},
    ),
    (
        "names in any case",
        {"Properties": {"A": "y"}},
        [{"immutable": ["properties.a"]}],
        {P: {"a": "x"}},
        "PropertyChangeNotAllowed",
    ),
]


@pytest.mark.parametrize(
    ("body", "entries", "stored", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_rule(
    body: dict[str, Any], entries: list[dict[str, Any]], stored: dict[str, Any] | None, expected: Any
) -> None:
    assert run(body, *entries, stored=stored) == expected


SWITCHED_OFF = [row for row in TABLE if isinstance(row[4], str)]


@pytest.mark.sabotage
@pytest.mark.parametrize(
    ("body", "stored"), [(row[1], row[3]) for row in SWITCHED_OFF], ids=[row[0] for row in SWITCHED_OFF]
)
def test_without_its_rule_nothing_is_refused(body: dict[str, Any], stored: dict[str, Any] | None) -> None:
    assert isinstance(run(body, stored=stored), dict)


def test_prepare_leaves_the_request_alone() -> None:
    body = {"properties": {"a": None}}
    run(body, {"default": "properties.a", "value": 1})
    assert body == {"properties": {"a": None}}


def test_merge_keeps_what_the_body_leaves_out() -> None:
    assert run({"properties": {"a": 2}}, stored={"properties": {"a": 1, "b": 1}}, merge=True) == {
        "properties": {"a": 2, "b": 1}
    }


def test_write_only_is_masked_or_left_out() -> None:
    loaded = typedata._rules(
        [{"write_only": ["p.secret"], "source": "t"}, {"write_only": ["p.key"], "masked": "", "source": "t"}], "test"
    )
    stored = {"p": {"secret": "s", "key": "k", "x": 1}}
    assert rules.shown(loaded, stored, "2024-01-01") == {"p": {"key": "", "x": 1}}
    assert stored["p"]["secret"] == "s"


def test_templates_keep_types_and_fill_strings() -> None:
    known = facts(name="vault", number=7)
    assert rules.fill("{number}", known, {}) == 7
    assert rules.fill("https://{name}.{body:p.zone}/", known, {"p": {"zone": "x"}}) == "https://vault.x/"
    assert rules.fill({"a": ["{name}"]}, known, {}) == {"a": ["vault"]}


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"required": ["a"]}, "no source"),
        ({"required": ["a"], "source": " "}, "no source"),
        ({"nonsense": ["a"], "source": "x"}, "first key"),
        ({"required": ["a"], "unknown": 1, "source": "x"}, "unknown options"),
        ({"required": ["a[b"], "source": "x"}, "cannot read"),
        ({"enum": ["a"], "source": "x"}, "without values"),
        ({"default": "a", "source": "x"}, "either value or from"),
        ({"required": ["a"], "when": {"path": "b"}, "source": "x"}, "compares nothing"),
        ({"required": ["a"], "api_version": "soon", "source": "x"}, "constraint"),
    ],
)
def test_loader_refuses(entry: dict[str, Any], problem: str) -> None:
    with pytest.raises((TypeDataError, paths.PathSyntaxError), match=problem):
        typedata._rules([entry], "file: type")


def test_every_rule_of_the_lab_has_a_source() -> None:
    types = typedata.standard_types()
    assert len(types) > 20
    assert all(rule.source.strip() for found in types.values() for rule in found.rules)


def test_a_rule_to_switch_off_must_exist() -> None:
    with pytest.raises(TypeDataError, match="no such rule"):
        typedata.load(without=["Microsoft.Resources/resourceGroups#nonsense"])
