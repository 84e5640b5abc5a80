"""Resource types as data: reads `types/*.yml`, checks them, and hands out frozen `TypeData` and `Rule` objects.

The schema is described in `types/README.md`. Run as a program it checks the files.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path as FilePath
from typing import Any

import yaml

from tests.lab.azure.paths import Path, PathSyntaxError

TYPES_DIRECTORY = FilePath(__file__).parent / "types"

# https://learn.microsoft.com/azure/reliability/regions-list (the regions the lab's users name, not all)
REGIONS = (
    "francecentral",
    "francesouth",
    "westeurope",
    "northeurope",
    "swedencentral",
    "germanywestcentral",
    "switzerlandnorth",
    "uksouth",
    "ukwest",
    "italynorth",
    "spaincentral",
    "eastus",
    "eastus2",
    "westus",
    "westus2",
    "westus3",
    "westcentralus",
    "centralus",
    "southcentralus",
    "northcentralus",
    "australiaeast",
    "newzealandnorth",
    "eastasia",
    "southeastasia",
    "eastus2euap",
    "centraluseuap",
)

COMMON_KEYS = frozenset({"source", "when", "api_version", "id", "code", "message", "status"})

# kind -> (options allowed, does the kind take paths as its value)
KINDS: dict[str, tuple[frozenset[str], bool]] = {
    "required": (frozenset({"on", "if_present"}), True),
    "immutable": (frozenset({"removal", "compare"}), True),
    "read_only": (frozenset({"refuse"}), True),
    "write_only": (frozenset({"masked"}), True),
    "keep": (frozenset(), True),
    "drop": (frozenset(), True),
    "hide": (frozenset(), True),
    "keep_null": (frozenset(), True),
    "members": (frozenset({"names", "unknown"}), True),
    "value": (
        frozenset({"type", "pattern", "min", "max", "min_length", "max_length", "min_items", "max_items", "format"}),
        True,
    ),
    "enum": (frozenset({"values", "match", "open"}), True),
    "default": (frozenset({"value", "from", "make_parent"}), True),
    "override": (frozenset({"value"}), True),
    "computed": (frozenset({"value", "each_write", "only_if"}), True),
    "normalize": (frozenset({"to"}), True),
    "forbid": (frozenset(), True),
    "unique": (frozenset({"in", "among"}), True),
    "reference": (frozenset({"type", "shows", "shows_one", "blocks_delete", "same", "linked_action"}), True),
    "child": (frozenset({"type", "absent", "removed", "flat"}), True),
    "implicit_child": (frozenset({"name", "body"}), False),
    "name": (frozenset({"min", "max"}), False),
    "unique_name": (frozenset(), False),
    "delete_blocked_by": (frozenset({"with_group"}), False),
    "limit": (frozenset({"per", "usage"}), False),
}

_TYPE_KEYS = frozenset(
    {
        "source",
        "api_versions",
        "casing",
        "scope",
        "methods",
        "lists",
        "page_size",
        "location",
        "locations",
        "tags",
        "put",
        "patch",
        "etag",
        "etag_form",
        "group_segment",
        "provisioning_state",
        "asynchronous",
        "put_status",
        "delete_status",
        "concurrency",
        "rules",
    }
)
_NORMALIZATIONS = frozenset(
    {
        "lower",
        "upper",
        "location",
        "cidr",
        "host_cidr",
        "arm_id",
        "integer",
        "number",
        "string",
        "datetime",
        "trailing_dot",
        "no_trailing_dot",
        "sorted",
    }
)
_CONDITION_KEYS = frozenset({"path", "stored", "exists", "equals", "not_equals", "in", "create"})
_API_VERSION = re.compile(r"^\d{4}-\d{2}-\d{2}(-preview|-beta|-alpha)?$")
_CONSTRAINT = re.compile(r"^(>=|<=|>|<|==)?\s*(\d{4}-\d{2}-\d{2}(?:-[a-z]+)?|preview|stable)$")


class TypeDataError(ValueError):
    """A file of types that does not follow the schema; the text names file, type and rule."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """One `when` entry."""

    path: Path | None = None
    stored: Path | None = None
    exists: bool | None = None
    equals: Any = None
    not_equals: Any = None
    among: tuple[Any, ...] | None = None
    create: bool | None = None
    compares: str = "exists"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of a type; `options` holds what belongs to its kind only."""

    kind: str
    id: str
    source: str
    paths: tuple[Path, ...] = ()
    subject: Any = None
    when: tuple[Condition, ...] = ()
    api_version: tuple[tuple[str, str], ...] = ()
    code: str | None = None
    message: str | None = None
    status: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def applies_to(self, api_version: str) -> bool:
        """Whether the rule exists in that version of the API (dates compare as text)."""
        return all(_holds(api_version, operator, bound) for operator, bound in self.api_version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asynchronous:
    """How one verb of a type answers before it is done."""

    status: int
    via: str = "none"
    seconds: float = 0.2
    state: str = "Updating"
    retry_after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """What happens to a write while another one runs on the same lock."""

    lock: str = "self"
    answer: str = "queue"
    status: int = 409
    code: str = "OperationNotAllowed"
    message: str = "Another operation is in progress on {id}."
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeData:
    """Everything the engine knows about one resource type."""

    namespace: str
    name: str
    source: str
    api_versions: tuple[str, ...]
    casing: str
    scope: str
    methods: frozenset[str]
    lists: frozenset[str]
    page_size: int
    location: str
    locations: tuple[str, ...]
    tags: bool
    put: str
    patch: str
    etag: Path | None
    etag_form: str
    group_segment: str
    provisioning_state: Path | None
    asynchronous: Mapping[str, Asynchronous]
    put_status: Mapping[str, int]
    delete_status: Mapping[str, int]
    concurrency: Concurrency
    rules: tuple[Rule, ...]

    @property
    def full_name(self) -> str:
        """``Microsoft.Network/virtualNetworks/subnets``."""
        return f"{self.namespace}/{self.casing}"

    @property
    def key(self) -> str:
        """The full name in lower case, as types are looked up."""
        return f"{self.namespace}/{self.name}".lower()

    @property
    def parent_key(self) -> str | None:
        """Key of the parent type, None for a top-level type."""
        return self.key.rsplit("/", 1)[0] if "/" in self.name else None

    def of_kind(self, *kinds: str, api_version: str) -> list[Rule]:
        """The rules of those kinds which exist in `api_version`, in file order."""
        return [rule for rule in self.rules if rule.kind in kinds and rule.applies_to(api_version)]


def _holds(version: str, operator: str, bound: str) -> bool:
    # A preview of a date comes before the date itself: 2024-01-01-preview < 2024-01-01.
    if bound in ("preview", "stable"):
        return (version[10:] != "") == (bound == "preview")
    left, right = _sortable(version), _sortable(bound)
    return {
        ">=": left >= right,
        "<=": left <= right,
        ">": left > right,
        "<": left < right,
        "==": left == right,
    }[operator]


def _sortable(version: str) -> tuple[str, str]:
    return version[:10], version[11:] or "~"


def load(directory: FilePath = TYPES_DIRECTORY, *, without: Iterable[str] = ()) -> dict[str, TypeData]:
    """Read every file of `directory`.

    `without` names what to leave out, for sabotage twins: ``<type>#<rule id>`` or ``<type>#concurrency``.
    Raises TypeDataError, also when a name in `without` means no rule.
    """
    types: dict[str, TypeData] = {}
    for path in sorted(directory.glob("*.yml")):
        for found in _load_file(path):
            if found.key in types:
                raise TypeDataError(f"{path.name}: {found.full_name} is declared twice")
            types[found.key] = found
    for found in types.values():
        if found.parent_key and found.parent_key not in types:
            raise TypeDataError(f"{found.full_name}: its parent type is not declared")
    return _switch_off(types, without)


@cache
def standard_types() -> Mapping[str, TypeData]:
    """The types of the lab, read once."""
    return load()


def _switch_off(types: dict[str, TypeData], without: Iterable[str]) -> dict[str, TypeData]:
    for wanted in without:
        type_name, _, rule_id = wanted.partition("#")
        target = types.get(type_name.lower())
        if target is not None and rule_id == "concurrency":
            types[target.key] = replace(target, concurrency=Concurrency())
            continue
        if target is None or all(rule.id != rule_id for rule in target.rules):
            raise TypeDataError(f"{wanted}: no such rule to switch off")
        types[target.key] = replace(target, rules=tuple(rule for rule in target.rules if rule.id != rule_id))
    return types


def _load_file(path: FilePath) -> list[TypeData]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except yaml.YAMLError as exc:
        raise TypeDataError(f"{path.name}: {exc}") from exc
    unknown = set(content) - {"namespace", "types"} - {key for key in content if key.startswith("x-")}
    if unknown:
        raise TypeDataError(f"{path.name}: unknown keys {sorted(unknown)} (anchors live under x-…)")
    found = []
    for names, raw in content["types"].items():
        for name in _braces(names):
            where = f"{path.name}: {name}"
            try:
                found.append(_read_type(content["namespace"], name, raw, where))
            except PathSyntaxError as exc:
                raise TypeDataError(f"{where}: {exc}") from exc
    return found


def _braces(names: str) -> list[str]:
    match = re.fullmatch(r"(.*)\{(.+)\}(.*)", names)
    return [f"{match[1]}{part.strip()}{match[3]}" for part in match[2].split(",")] if match else [names]


def _read_type(namespace: str, name: str, raw: dict[str, Any], where: str) -> TypeData:
    unknown = set(raw) - _TYPE_KEYS
    if unknown:
        raise TypeDataError(f"{where}: unknown keys {sorted(unknown)}")
    if not raw.get("source"):
        raise TypeDataError(f"{where}: no source")
    versions = tuple(str(version) for version in raw.get("api_versions") or ())
    if not versions or not all(_API_VERSION.match(version) for version in versions):
        raise TypeDataError(f"{where}: api_versions must be dates, got {versions}")
    is_child = "/" in name
    scope = _one_of(raw, "scope", ("resource_group", "subscription", "extension", "tenant"), where)
    location = raw.get("location", "none" if is_child or scope == "extension" else "required")
    if location not in ("required", "optional", "global", "inherited", "none"):
        raise TypeDataError(f"{where}: location {location!r}")
    top_lists = ("resource_group", "subscription") if scope == "resource_group" else (scope,)
    state = raw.get("provisioning_state", "properties.provisioningState")
    return TypeData(
        namespace=namespace,
        name=name,
        source=raw["source"],
        api_versions=versions,
        casing=raw.get("casing", name),
        scope=scope,
        methods=frozenset(raw.get("methods") or ("GET", "HEAD", "PUT", "PATCH", "DELETE")),
        lists=frozenset(raw.get("lists", ["parent"] if is_child else top_lists)),
        page_size=int(raw.get("page_size", 100)),
        location=location,
        locations=tuple(raw.get("locations") or REGIONS),
        tags=bool(raw.get("tags", not is_child and scope != "extension")),
        put=_one_of(raw, "put", ("replace", "merge"), where),
        patch=_one_of(raw, "patch", ("merge", "tags", "none"), where),
        etag=Path.parse(raw["etag"]) if raw.get("etag") else None,
        group_segment=_one_of(raw, "group_segment", ("resourceGroups", "resourcegroups"), where),
        etag_form=_one_of(raw, "etag_form", ("weak", "strong", "bare", "blob"), where),
        provisioning_state=Path.parse(state) if state else None,
        asynchronous=_asynchronous(raw.get("asynchronous") or {}, where),
        put_status={"create": 201, "update": 200} | (raw.get("put_status") or {}),
        delete_status={"found": 200, "missing": 204} | (raw.get("delete_status") or {}),
        concurrency=_concurrency(raw.get("concurrency"), where),
        rules=_rules(raw.get("rules") or [], where),
    )


def _one_of(raw: dict[str, Any], key: str, allowed: tuple[str, ...], where: str) -> str:
    value = raw.get(key, allowed[0])
    if value not in allowed:
        raise TypeDataError(f"{where}: {key} is {value!r}, not one of {allowed}")
    return str(value)


def _asynchronous(raw: dict[str, Any], where: str) -> dict[str, Asynchronous]:
    out = {}
    for verb, options in raw.items():
        if verb not in ("create", "update", "patch", "delete"):
            raise TypeDataError(f"{where}: asynchronous has no verb {verb!r}")
        try:
            out[verb] = Asynchronous(**options)
        except TypeError as exc:
            raise TypeDataError(f"{where}: asynchronous.{verb}: {exc}") from exc
        if out[verb].via not in ("Azure-AsyncOperation", "Location", "both", "none"):
            raise TypeDataError(f"{where}: asynchronous.{verb}.via is {out[verb].via!r}")
    return out


def _concurrency(raw: dict[str, Any] | None, where: str) -> Concurrency:
    if raw is None:
        return Concurrency()
    if not raw.get("source"):
        raise TypeDataError(f"{where}: concurrency without source")
    try:
        found = Concurrency(**raw)
    except TypeError as exc:
        raise TypeDataError(f"{where}: concurrency: {exc}") from exc
    if found.lock not in ("self", "parent", "root") or found.answer not in ("refuse", "fail", "queue"):
        raise TypeDataError(f"{where}: concurrency: lock {found.lock!r}, answer {found.answer!r}")
    return found


def _rules(raw: list[dict[str, Any]], where: str) -> tuple[Rule, ...]:
    found: list[Rule] = []
    taken: dict[str, int] = {}
    for number, entry in enumerate(raw, start=1):
        rule = _rule(entry, f"{where}: rule {number}")
        taken[rule.id] = taken.get(rule.id, 0) + 1
        if taken[rule.id] > 1:
            rule = replace(rule, id=f"{rule.id}~{taken[rule.id]}")
        found.append(rule)
    return tuple(found)


def _rule(entry: dict[str, Any], where: str) -> Rule:
    kinds = [key for key in entry if key in KINDS]
    # `type`, `name`, `value` … may be an option of one kind and a kind of its own: the first key decides.
    if not kinds or kinds[0] != next(iter(entry)):
        raise TypeDataError(f"{where}: its first key must be one of {sorted(KINDS)}, got {list(entry)[:1]}")
    kind = kinds[0]
    allowed, takes_paths = KINDS[kind]
    unknown = set(entry) - allowed - COMMON_KEYS - {kind}
    if unknown:
        raise TypeDataError(f"{where} ({kind}): unknown options {sorted(unknown)}")
    if not str(entry.get("source") or "").strip():
        raise TypeDataError(f"{where} ({kind}): no source")
    subject = entry[kind]
    texts = ([subject] if isinstance(subject, str) else list(subject)) if takes_paths else []
    options = {key: value for key, value in entry.items() if key in allowed}
    _check_options(kind, options, where)
    first = texts[0] if texts else (subject[0] if isinstance(subject, list) else subject)
    return Rule(
        kind=kind,
        id=str(entry.get("id", f"{kind}:{first}" if takes_paths or kind == "implicit_child" else kind)),
        source=str(entry["source"]),
        paths=tuple(Path.parse(text) for text in texts),
        subject=subject,
        when=_conditions(entry.get("when"), where),
        api_version=_constraints(entry.get("api_version"), where),
        code=entry.get("code"),
        message=entry.get("message"),
        status=entry.get("status"),
        options=options,
    )


def _check_options(kind: str, options: dict[str, Any], where: str) -> None:
    if kind == "enum" and not options.get("values"):
        raise TypeDataError(f"{where}: enum without values")
    if kind == "default" and ("value" in options) == ("from" in options):
        raise TypeDataError(f"{where}: default needs either value or from")
    if kind in ("computed", "override") and "value" not in options:
        raise TypeDataError(f"{where}: {kind} without value")
    if kind == "normalize" and options.get("to") not in _NORMALIZATIONS:
        raise TypeDataError(f"{where}: normalize to {options.get('to')!r}, known: {sorted(_NORMALIZATIONS)}")
    if kind == "members" and not options.get("names"):
        raise TypeDataError(f"{where}: members without names")
    if kind in ("reference", "child") and not options.get("type"):
        raise TypeDataError(f"{where}: {kind} without type")
    if kind == "unique" and ("in" in options) == ("among" in options):
        raise TypeDataError(f"{where}: unique needs either in or among")


def _conditions(raw: Any, where: str) -> tuple[Condition, ...]:
    if raw is None:
        return ()
    found = []
    for entry in raw if isinstance(raw, list) else [raw]:
        unknown = set(entry) - _CONDITION_KEYS
        if unknown:
            raise TypeDataError(f"{where}: when: unknown keys {sorted(unknown)}")
        compares = next((key for key in ("exists", "equals", "not_equals", "in", "create") if key in entry), "")
        if not compares:
            raise TypeDataError(f"{where}: when: {entry} compares nothing")
        found.append(
            Condition(
                path=Path.parse(entry["path"]) if "path" in entry else None,
                stored=Path.parse(entry["stored"]) if "stored" in entry else None,
                exists=entry.get("exists"),
                equals=entry.get("equals"),
                not_equals=entry.get("not_equals"),
                among=tuple(entry["in"]) if "in" in entry else None,
                create=entry.get("create"),
                compares=compares,
            )
        )
    return tuple(found)


def _constraints(raw: Any, where: str) -> tuple[tuple[str, str], ...]:
    found = []
    for entry in raw if isinstance(raw, list) else [raw] if raw is not None else []:
        match = _CONSTRAINT.match(str(entry))
        if not match:
            raise TypeDataError(f"{where}: api_version constraint {entry!r}")
        found.append((match[1] or "==", match[2]))
    return tuple(found)


def main() -> int:
    """Check all files and print what they hold."""
    try:
        types = load()
    except TypeDataError as exc:
        print(exc, file=sys.stderr)
        return 1
    for key in sorted(types):
        found = types[key]
        print(
            f"{found.full_name}: {len(found.rules)} rules, api-versions {found.api_versions[0]} … "
            f"{found.api_versions[-1]}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
