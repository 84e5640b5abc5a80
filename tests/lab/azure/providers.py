"""Paths of ARM that are no resource types of the data: subscriptions, providers, operations, mixed lists."""

from __future__ import annotations

import time
import urllib.parse
from typing import TYPE_CHECKING, Any

from tests.lab.azure.arm_id import RESOURCE_GROUP_TYPE, ArmId
from tests.lab.azure.errors import ArmError
from tests.lab.azure.running import Answer
from tests.lab.azure.typedata import REGIONS

if TYPE_CHECKING:
    from tests.lab.azure.arm import Call
    from tests.lab.azure.engine import Engine

_OPERATION_KINDS = frozenset({"operations", "operationresults", "operationstatuses"})
REGISTERING_SECONDS = 0.3


def fixed(engine: Engine, call: Call) -> Answer | None:
    """The answer, or None when the path is something else."""
    lowered = tuple(segment.lower() for segment in call.path.segments)
    subscription = call.path.subscription
    known = subscription.lower() == engine.settings.subscription_id.lower()
    if call.method == "GET" and lowered == ("tenants",):
        return Answer(status=200, body={"value": [_tenant(engine)]})
    if call.method == "GET" and lowered == ("subscriptions",):
        return Answer(status=200, body={"value": [_subscription(engine)], "count": {"type": "Total", "value": 1}})
    if not known or lowered[0] != "subscriptions":
        return None
    return _in_subscription(engine, call, ArmId(call.path.segments[:2]), lowered[2:])


def _in_subscription(engine: Engine, call: Call, scope: ArmId, rest: tuple[str, ...]) -> Answer | None:
    reading = call.method == "GET"
    answer: Answer | None = None
    match rest:
        case () if reading:
            answer = Answer(status=200, body=_subscription(engine))
        case ("locations",) if reading:
            answer = Answer(status=200, body={"value": [_location(engine, name) for name in REGIONS]})
        case ("operationresults", operation):
            answer = _operation(engine, call, "operationresults", operation)
        case ("providers", *more) if len(more) < 2 or (len(more) == 2 and call.method == "POST"):
            answer = _provider(engine, call, scope, rest)
        case ("providers", _, "locations", _, kind, operation) if kind in _OPERATION_KINDS:
            answer = _operation(engine, call, kind, operation)
        case ("resources",) if reading:
            answer = _resources(engine, call, scope)
        case ("resourcegroups", _, "resources") if reading:
            answer = _resources(engine, call, ArmId(call.path.segments[:4]))
    return answer


def _operation(engine: Engine, call: Call, kind: str, operation_id: str) -> Answer:
    from tests.lab.azure.arm import operation_answer  # noqa: PLC0415 - arm imports this module

    url = urllib.parse.unquote(call.path.text)
    return operation_answer(engine, operation_id, kind=kind, url=url, api_version=call.api_version)


def _tenant(engine: Engine) -> dict[str, Any]:
    tenant = engine.settings.tenant_id
    return {
        "id": f"/tenants/{tenant}",
        "tenantId": tenant,
        "tenantCategory": "Home",
        "countryCode": "FR",
        "displayName": "AudioProthese+ lab",
        "domains": ["lab.example"],
        "defaultDomain": "lab.example",
        "tenantType": "AAD",
    }


def _subscription(engine: Engine) -> dict[str, Any]:
    subscription = engine.settings.subscription_id
    return {
        "id": f"/subscriptions/{subscription}",
        "subscriptionId": subscription,
        "tenantId": engine.settings.tenant_id,
        "displayName": "lab",
        "state": "Enabled",
        "authorizationSource": "RoleBased",
        "subscriptionPolicies": {
            "locationPlacementId": "Public_2014-09-01",
            "quotaId": "EnterpriseAgreement_2014-09-01",
            "spendingLimit": "Off",
        },
        "managedByTenants": [],
    }


def _location(engine: Engine, name: str) -> dict[str, Any]:
    zones = [{"logicalZone": str(number), "physicalZone": f"{name}-az{number}"} for number in (1, 2, 3)]
    return {
        "id": f"/subscriptions/{engine.settings.subscription_id}/locations/{name}",
        "name": name,
        "type": "Region",
        "displayName": name,
        "regionalDisplayName": name,
        "metadata": {"regionType": "Physical", "regionCategory": "Recommended"},
        "availabilityZoneMappings": zones,
    }


def _provider(engine: Engine, call: Call, scope: ArmId, rest: tuple[str, ...]) -> Answer | None:
    from tests.lab.azure.engine import REGISTRATION  # noqa: PLC0415 - the engine's module imports much

    namespaces = engine.namespaces()
    if len(rest) == 1:
        if call.method != "GET":
            return None
        engine.authorize(call.caller, "Microsoft.Resources/subscriptions/providers/read", scope)
        return Answer(
            status=200, body={"value": [provider_body(engine, scope, name) for name in sorted(namespaces.values())]}
        )
    spelled = namespaces.get(rest[1])
    if spelled is None:
        raise ArmError(404, "InvalidResourceNamespace", f"The resource namespace '{call.path.segments[3]}' is invalid.")
    if len(rest) == 2:
        if call.method != "GET":
            raise ArmError(
                405, "MethodNotAllowed", f"{call.method} is not supported for providers; POST to its register action."
            )
        engine.authorize(call.caller, "Microsoft.Resources/subscriptions/providers/read", scope)
        return Answer(status=200, body=provider_body(engine, scope, spelled))
    if rest[2] not in ("register", "unregister"):
        return None
    engine.authorize(call.caller, f"{spelled}/{rest[2]}/action", scope)
    key = f"{scope.subscription}/{spelled}".lower()
    if rest[2] == "register":
        if engine.registration(scope.subscription, spelled) == "NotRegistered":
            due = time.time() + REGISTERING_SECONDS * engine.settings.time_scale
            engine.store.put_record(REGISTRATION, key, {"state": "Registering", "due": due})
    else:
        used = [found for found in engine.store.below(scope) if found.id.namespace.lower() == spelled.lower()]
        if used:
            raise ArmError(
                409,
                "SubscriptionResourceProviderInUse",
                f"The resource provider '{spelled}' has resources in the subscription, first '{used[0].id.text}'.",
            )
        engine.store.put_record(REGISTRATION, key, {"state": "NotRegistered", "due": 0})
    return Answer(status=200, body=provider_body(engine, scope, spelled))


def provider_body(engine: Engine, scope: ArmId, namespace: str) -> dict[str, Any]:
    """A provider with its types, as GET answers it."""
    types = [data for data in engine.types.values() if data.namespace == namespace]
    return {
        "id": f"{scope.text}/providers/{namespace}",
        "namespace": namespace,
        "registrationPolicy": "RegistrationRequired",
        "registrationState": engine.registration(scope.subscription, namespace),
        "resourceTypes": [
            {
                "resourceType": data.casing,
                "locations": list(data.locations),
                "apiVersions": list(reversed(data.api_versions)),
            }
            for data in types
        ],
    }


def _resources(engine: Engine, call: Call, scope: ArmId) -> Answer:
    """The generic list of tracked resources; `$filter` knows resourceType and tagName/tagValue."""
    from tests.lab.azure.engine import full_type  # noqa: PLC0415 - see above

    engine.authorize(call.caller, "Microsoft.Resources/subscriptions/resources/read", scope)
    engine.require_group(scope)
    wanted = dict(_terms(call.params.get("$filter", "")))
    value = []
    for resource in reversed(engine.store.below(scope)):
        data = engine.types.get(resource.type)
        if (
            data is None
            or resource.type == RESOURCE_GROUP_TYPE
            or "location" not in resource.body
            or len(resource.id.types) > 1
        ):
            continue
        tags = resource.body.get("tags") or {}
        if "resourcetype" in wanted and wanted["resourcetype"].lower() != data.key:
            continue
        if "tagname" in wanted and tags.get(wanted["tagname"]) != wanted.get(
            "tagvalue", tags.get(wanted["tagname"], object())
        ):
            continue
        shown = {"id": resource.id.text, "name": resource.id.name, "type": full_type(data)}
        value.append(
            shown
            | {
                key: resource.body[key]
                for key in ("location", "tags", "sku", "kind", "identity")
                if key in resource.body
            }
        )
    return Answer(status=200, body={"value": value})


def _terms(text: str) -> list[tuple[str, str]]:
    found = []
    for term in text.split(" and "):
        name, operator, value = [*term.strip().split(" ", 2), "", ""][:3]
        if operator.lower() == "eq":
            found.append((name.lower(), value.strip().strip("'")))
    return found
