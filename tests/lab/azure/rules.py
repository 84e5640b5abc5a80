"""The rules of the type data, applied to plain dictionaries. Nothing here knows HTTP or the database.

Every function takes the rules of one kind, the request's body (changed in place where the rule says so) and `Facts`.
A refusal is an ArmError. `prepare` runs them in the documented order.
"""

from __future__ import annotations

import copy
import datetime
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.lab.azure import paths
from tests.lab.azure.errors import ArmError
from tests.lab.azure.paths import EACH_VALUE, MISSING, Concrete, Path
from tests.lab.azure.typedata import Condition, Rule

ENVELOPE = ("id", "name", "type", "systemData")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What rules may ask about a write: `values` fills placeholders, `make` makes fresh ones (``guid``)."""

    api_version: str
    create: bool
    values: Mapping[str, Any] = field(default_factory=dict)
    stored: Mapping[str, Any] | None = None
    make: Callable[[str], Any] = lambda name: MISSING


@dataclass(frozen=True, slots=True)
class Target:
    """A reference found in a body."""

    rule: Rule
    path: Concrete
    id: str


def prepare(rules: Sequence[Rule], body: dict[str, Any], facts: Facts, *, merge: bool = False) -> dict[str, Any]:
    """Return the body to store, as far as the body and what was stored decide it.

    Overrides and computed values come later (`finish`), after references and the type's own behaviour had their say.
    """
    active = [rule for rule in rules if rule.applies_to(facts.api_version)]
    body = copy.deepcopy(body)
    for name in ENVELOPE:
        body.pop(name, None)
    if facts.stored is not None:
        body = merge_patch(facts.stored, body) if merge else body
        keep(_kind(active, "keep"), body, facts)
        keep_immutable(_kind(active, "immutable"), body, facts)
    drop(_kind(active, "drop"), body, facts)
    restore_read_only(_kind(active, "read_only", "computed"), body, facts)
    check_members(_kind(active, "members"), body, facts)
    check_values(_kind(active, "value"), body, facts)
    check_enums(_kind(active, "enum"), body, facts)
    normalize(_kind(active, "normalize"), body, facts)
    drop_nulls(body, keep_null=[path for rule in _kind(active, "keep_null") for path in rule.paths])
    apply_defaults(_kind(active, "default"), body, facts)
    check_required(_kind(active, "required"), body, facts)
    check_forbidden(_kind(active, "forbid"), body, facts)
    check_immutable(_kind(active, "immutable"), body, facts)
    check_unique(_kind(active, "unique"), body, facts)
    return body


def finish(rules: Sequence[Rule], body: dict[str, Any], facts: Facts) -> None:
    """Fill in what the service decides: overrides, then computed values."""
    active = [rule for rule in rules if rule.applies_to(facts.api_version)]
    for rule in _kind(active, "override"):
        for path, concrete, _ in _places(rule, body, facts, missing=True):
            if _parent_exists(body, path, concrete):
                paths.put(body, concrete, copy.deepcopy(rule.options["value"]))
    apply_computed(_kind(active, "computed"), body, facts)


def shown(rules: Sequence[Rule], body: Mapping[str, Any], api_version: str) -> dict[str, Any]:
    """A copy of a stored body without what answers never show."""
    out = copy.deepcopy(dict(body))
    facts = Facts(api_version=api_version, create=False, stored=body)
    for rule in rules:
        if rule.kind not in ("write_only", "hide") or not rule.applies_to(api_version):
            continue
        for _, concrete, _ in reversed(list(_places(rule, out, facts))):
            if "masked" in rule.options:
                paths.put(out, concrete, rule.options["masked"])
            else:
                paths.remove(out, concrete)
    return out


# --- single kinds


def keep(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """A path that the body leaves out keeps its stored value."""
    _keep(rules, body, facts)


def keep_immutable(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """An immutable path left out is unchanged, unless the rule says that leaving it out is a change."""
    _keep((rule for rule in rules if rule.options.get("removal", "keep") == "keep"), body, facts)


def _keep(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    for rule in rules:
        for _, concrete, value in _places(rule, body, facts, missing=True):
            if value is MISSING or value is None:
                old = stored_at(facts.stored, body, concrete)
                if old is not MISSING:
                    paths.put(body, concrete, copy.deepcopy(old))


def drop(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """Remove what the service accepts and forgets."""
    for rule in rules:
        for _, concrete, _ in reversed(list(_places(rule, body, facts))):
            paths.remove(body, concrete)


def restore_read_only(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """What a client says about read-only and computed places does not count; what was stored stays."""
    for rule in rules:
        for _, concrete, value in list(_places(rule, body, facts, missing=True)):
            old = stored_at(facts.stored, body, concrete)
            if rule.options.get("refuse") and value is not MISSING and not same(value, old):
                raise refusal(rule, facts, concrete, value, code="ReadOnlyProperty", message="{path} is read-only.")
            if old is not MISSING:
                paths.put(body, concrete, copy.deepcopy(old), make_parents=True)
            elif value is not MISSING:
                paths.remove(body, concrete)


def check_members(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """Only known members may be named (or unknown ones are forgotten)."""
    for rule in rules:
        known = {str(name).lower() for name in rule.options["names"]}
        for _, concrete, value in _places(rule, body, facts):
            if not isinstance(value, dict):
                continue
            for name in [name for name in value if name.lower() not in known]:
                if rule.options.get("unknown", "refuse") == "drop":
                    del value[name]
                    continue
                raise refusal(
                    rule,
                    facts,
                    (*concrete, name),
                    value[name],
                    code="InvalidRequestFormat",
                    message="Cannot parse the request: could not find member '{value_name}' on the object at '{path}'.",
                    extra={"value_name": name},
                )


_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def check_values(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """The shape of values that are present."""
    for rule in rules:
        for _, concrete, value in _places(rule, body, facts):
            if value is not None and not fits(value, rule.options):
                raise refusal(
                    rule,
                    facts,
                    concrete,
                    value,
                    code="InvalidParameter",
                    message="The value '{value}' of parameter {path} is invalid.",
                )


def fits(value: Any, options: Mapping[str, Any]) -> bool:
    """Whether `value` has the type, size and form that a `value` rule asks for."""
    wanted = options.get("type")
    if wanted and not (isinstance(value, _TYPES[wanted]) and (wanted == "boolean" or not isinstance(value, bool))):
        return False
    if isinstance(value, str):
        return _text_fits(value, options)
    if isinstance(value, list | dict):
        return bool(options.get("min_items", 0) <= len(value) <= options.get("max_items", len(value)))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool(options.get("min", value) <= value <= options.get("max", value))
    return True


def _text_fits(value: str, options: Mapping[str, Any]) -> bool:
    return (
        bool(re.fullmatch(options.get("pattern", "(?s:.*)"), value))
        and bool(options.get("min_length", 0) <= len(value) <= options.get("max_length", len(value)))
        and ("format" not in options or _FORMATS[options["format"]](value))
    )


def check_enums(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """Values of enumerations; `nocase` ones get their canonical spelling."""
    for rule in rules:
        canonical = {str(value).lower(): value for value in rule.options["values"]}
        match = rule.options.get("match", "nocase")
        for _, concrete, value in _places(rule, body, facts):
            if value is None:
                continue
            found = canonical.get(str(value).lower())
            if found is not None and (match != "exact" or found == value):
                if match == "nocase":
                    paths.put(body, concrete, found)
                continue
            if rule.options.get("open"):
                continue
            raise refusal(
                rule,
                facts,
                concrete,
                value,
                code="InvalidParameter",
                message="The value '{value}' of parameter {path} is not one of {allowed}.",
                extra={"allowed": ", ".join(str(entry) for entry in rule.options["values"])},
            )


def normalize(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """Spell values as the service does."""
    for rule in rules:
        spell = _SPELLINGS[rule.options["to"]]
        for _, concrete, value in _places(rule, body, facts):
            if value is not None:
                paths.put(body, concrete, spell(value))


def apply_defaults(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """Fill what is absent or null."""
    for rule in rules:
        for path, concrete, value in list(_places(rule, body, facts, missing=True)):
            if value is not MISSING and value is not None:
                continue
            if "from" in rule.options:
                source = paths.get(body, paths.bind(Path.parse(rule.options["from"]), path, concrete))
                if source is MISSING:
                    continue
                new = copy.deepcopy(source)
            else:
                new = fill(copy.deepcopy(rule.options["value"]), facts, body)
            paths.put(body, concrete, new, make_parents=rule.options.get("make_parent", True))


def check_required(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """What must be there."""
    for rule in rules:
        if rule.options.get("on") == "create" and not facts.create:
            continue
        for path, concrete, value in _places(rule, body, facts, missing=True):
            condition = rule.options.get("if_present")
            if condition:
                above = paths.get(body, paths.bind(Path.parse(condition), path, concrete))
                if above is MISSING or above is None:
                    continue
            if value is MISSING or value is None or value == "":
                raise refusal(
                    rule,
                    facts,
                    concrete,
                    value,
                    code="InvalidRequestContent",
                    message="The request content was invalid: required property '{path}' is missing.",
                )


def check_forbidden(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """What must not be there under the rule's condition."""
    for rule in rules:
        for _, concrete, value in _places(rule, body, facts):
            if value is not None:
                raise refusal(
                    rule, facts, concrete, value, code="InvalidParameter", message="{path} is not allowed here."
                )


def check_immutable(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """What was stored may not become something else."""
    if facts.stored is None:
        return
    for rule in rules:
        exact = rule.options.get("compare", "nocase") == "exact"
        for _, concrete, value in _places(rule, body, facts, missing=True):
            old = stored_at(facts.stored, body, concrete)
            if old is MISSING or old is None:
                # Never set: setting it now is a change only where the element or object was there before.
                if value in (MISSING, None) or stored_at(facts.stored, body, concrete[:-1]) is MISSING:
                    continue
                old = None
            new = None if value is MISSING else value
            if (old == new) if exact else same(old, new):
                continue
            raise refusal(
                rule,
                facts,
                concrete,
                new,
                code="PropertyChangeNotAllowed",
                message="Changing property '{path}' is not allowed.",
                extra={"old": old},
            )


def check_unique(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """No two elements of a list agree in all the rule's paths. (Uniqueness among siblings is the engine's.)"""
    for rule in rules:
        if "in" not in rule.options:
            continue
        for concrete, items in paths.expand(body, Path.parse(rule.options["in"])):
            seen: set[str] = set()
            for index, item in enumerate(items if isinstance(items, list) else []):
                identity = identity_of(item, rule.paths)
                if identity in seen:
                    raise refusal(
                        rule,
                        facts,
                        (*concrete, index),
                        identity,
                        code="InvalidParameter",
                        message="{path} repeats a value that has to be unique: {value}.",
                    )
                seen.add(identity)


def identity_of(item: Any, keys: Iterable[Path]) -> str:
    """The values at `keys` as one comparable text."""
    return "|".join(str(paths.get(item, key)).lower() for key in keys)


def apply_computed(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> None:
    """Values the service makes: once (kept since), or at each write."""
    for rule in rules:
        for path, concrete, value in list(_places(rule, body, facts, missing=True)):
            only_if = rule.options.get("only_if")
            if only_if and paths.get(body, paths.bind(Path.parse(only_if), path, concrete)) in (MISSING, None):
                continue
            if value is not MISSING and value is not None and not rule.options.get("each_write"):
                continue
            paths.put(body, concrete, fill(copy.deepcopy(rule.options["value"]), facts, body))


def references(rules: Iterable[Rule], body: dict[str, Any], facts: Facts) -> Iterator[Target]:
    """Every id that a `reference` rule points at."""
    for rule in rules:
        if rule.kind != "reference" or not rule.applies_to(facts.api_version):
            continue
        for path, concrete, value in _places(rule, body, facts):
            if path.steps[-1] == EACH_VALUE:
                # The map's keys are the ids; a null value takes the entry out.
                if value is not None:
                    yield Target(rule, concrete, str(concrete[-1]))
            elif isinstance(value, str) and value:
                yield Target(rule, concrete, value)


# --- helpers


def _kind(rules: Iterable[Rule], *kinds: str) -> list[Rule]:
    return [rule for rule in rules if rule.kind in kinds]


def _places(rule: Rule, body: Any, facts: Facts, *, missing: bool = False) -> Iterator[tuple[Path, Concrete, Any]]:
    for path in rule.paths:
        for concrete, value in paths.expand(body, path, missing=missing):
            if all(holds(condition, path, concrete, body, facts) for condition in rule.when):
                yield path, concrete, value


def holds(condition: Condition, path: Path, concrete: Concrete, body: Any, facts: Facts) -> bool:
    """Whether one `when` entry is true for the place `concrete` of the rule's `path`."""
    if condition.compares == "create":
        return condition.create == facts.create
    where, asked = (facts.stored, condition.stored) if condition.stored else (body, condition.path)
    if asked is None:
        return False
    values = [value for value in paths.expand_steps(where, paths.bind(asked, path, concrete)) if value is not MISSING]
    present = [value for value in values if value is not None]
    if condition.compares == "exists":
        return bool(present) == condition.exists
    if condition.compares == "in":
        return any(same(value, wanted) for value in present for wanted in condition.among or ())
    wanted = condition.equals if condition.compares == "equals" else condition.not_equals
    found = any(same(value, wanted) for value in present) or (wanted is None and not present)
    return found if condition.compares == "equals" else not found


def same(left: Any, right: Any) -> bool:
    """Equal, strings without regard to case, mappings without regard to members that are null."""
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    if isinstance(left, dict) and isinstance(right, dict):
        mine = {key.lower(): value for key, value in left.items() if value is not None}
        theirs = {key.lower(): value for key, value in right.items() if value is not None}
        return mine.keys() == theirs.keys() and all(same(mine[key], theirs[key]) for key in mine)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(same(*pair) for pair in zip(left, right, strict=True))
    return bool(left == right) and isinstance(left, bool) == isinstance(right, bool)


def stored_at(stored: Any, body: Any, concrete: Concrete) -> Any:
    """The stored value for a place of the new body: list elements are matched by name or id, else by place."""
    for step in concrete:
        if isinstance(step, str):
            stored = paths.get(stored, (step,))
            body = paths.get(body, (step,))
        else:
            item = body[step] if isinstance(body, list) and step < len(body) else MISSING
            stored = _matching(stored, item, step)
            body = item
        if stored is MISSING:
            return MISSING
    return stored


def _matching(stored: Any, item: Any, index: int) -> Any:
    if not isinstance(stored, list):
        return MISSING
    if isinstance(item, dict):
        for key in ("name", "id"):
            wanted = item.get(key)
            if isinstance(wanted, str):
                found = (entry for entry in stored if isinstance(entry, dict) and same(entry.get(key), wanted))
                return next(found, MISSING)
    return stored[index] if index < len(stored) else MISSING


def _parent_exists(body: Any, path: Path, concrete: Concrete) -> bool:
    return len(concrete) <= 2 or isinstance(paths.get(body, concrete[:-1]), dict)


def merge_patch(stored: Any, patch: Any) -> Any:
    """RFC 7396, with keys matched in any case; nulls are kept so that rules can see them."""
    if not isinstance(patch, dict) or not isinstance(stored, Mapping):
        return copy.deepcopy(patch)
    out = copy.deepcopy(dict(stored))
    for name, value in patch.items():
        key = paths.find_key(out, name) or name
        out[key] = merge_patch(out.get(key), value) if isinstance(value, dict) else copy.deepcopy(value)
    return out


def drop_nulls(body: Any, *, keep_null: Sequence[Path] = ()) -> None:
    """Remove members that are null, as ARM's answers do."""
    kept = {concrete for path in keep_null for concrete, value in paths.expand(body, path) if value is None}
    _drop_nulls(body, (), kept)


def _drop_nulls(value: Any, where: Concrete, kept: set[Concrete]) -> None:
    if isinstance(value, dict):
        for key in list(value):
            if value[key] is None:
                if (*where, key) not in kept:
                    del value[key]
            else:
                _drop_nulls(value[key], (*where, key), kept)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _drop_nulls(item, (*where, index), kept)


def refusal(
    rule: Rule,
    facts: Facts,
    concrete: Concrete,
    value: Any,
    *,
    code: str,
    message: str,
    status: int = 400,
    extra: Mapping[str, Any] | None = None,
) -> ArmError:
    """The error a rule gives, with its own code and words where it has them."""
    values = {"path": paths.text(concrete), "value": "" if value is MISSING else value, "old": ""}
    words = say(rule.message or message, {**facts.values, **values, **(extra or {})})
    return ArmError(rule.status or status, rule.code or code, words, target=paths.text(concrete) or None)


_PLACEHOLDER = re.compile(r"\{([A-Za-z_0-9]+(?::[^{}]*)?)\}")


def say(template: str, values: Mapping[str, Any]) -> str:
    """Fill the placeholders of a message; unknown ones stay as they are."""
    return _PLACEHOLDER.sub(lambda found: str(values.get(found[1], found[0])), template)


def fill(value: Any, facts: Facts, body: Any) -> Any:
    """Fill the placeholders of a template, in strings at any depth. A lone placeholder keeps its value's type."""
    if isinstance(value, dict):
        return {key: fill(entry, facts, body) for key, entry in value.items()}
    if isinstance(value, list):
        return [fill(entry, facts, body) for entry in value]
    if not isinstance(value, str) or "{" not in value:
        return value
    lone = _PLACEHOLDER.fullmatch(value)
    if lone:
        return _placeholder(lone[1], facts, body, lone[0])
    return _PLACEHOLDER.sub(lambda found: str(_placeholder(found[1], facts, body, found[0])), value)


def _placeholder(name: str, facts: Facts, body: Any, unknown: Any) -> Any:
    kind, _, argument = name.partition(":")
    if kind in ("body", "stored"):
        found = paths.get(body if kind == "body" else facts.stored, argument)
        return "" if found is MISSING else found
    if name in facts.values:
        return facts.values[name]
    made = facts.make(name)
    return unknown if made is MISSING else made


# --- forms and spellings


def _is(parse: Callable[[str], Any]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


_GUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_DURATION = re.compile(r"P(?=.)(\d+[YMWD])*(T(?=.)(\d+(\.\d+)?[HMS])+)?")
_FORMATS: dict[str, Callable[[str], bool]] = {
    "cidr": lambda text: "/" in text and _is(ipaddress.ip_network)(text),
    "ip": _is(ipaddress.ip_address),
    "guid": lambda text: bool(_GUID.fullmatch(text)),
    "duration": lambda text: bool(_DURATION.fullmatch(text)),
    "datetime": _is(datetime.datetime.fromisoformat),
    "arm_id": lambda text: text.startswith("/") and len(text.strip("/").split("/")) % 2 == 0,
}


def _text(change: Callable[[str], Any]) -> Callable[[Any], Any]:
    return lambda value: change(value) if isinstance(value, str) else value


def _datetime(text: str) -> str:
    moment = datetime.datetime.fromisoformat(text)
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment.tzinfo else text


def _cidr(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError:
        return text


def _number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _integer(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError):
        return value


_SPELLINGS: dict[str, Callable[[Any], Any]] = {
    "lower": _text(str.lower),
    "upper": _text(str.upper),
    "location": _text(lambda text: text.replace(" ", "").lower()),
    "cidr": _text(_cidr),
    "host_cidr": _text(lambda text: text if "/" in text or ":" in text else f"{text}/32"),
    "arm_id": _text(lambda text: "/" + text.strip("/")),
    "integer": _integer,
    "number": _number,
    "string": lambda value: value if isinstance(value, str) else str(value),
    "datetime": _text(_datetime),
    "trailing_dot": _text(lambda text: text if text.endswith(".") else f"{text}."),
    "no_trailing_dot": _text(lambda text: text.removesuffix(".")),
    "sorted": lambda value: sorted(value, key=str) if isinstance(value, list) else value,
}
