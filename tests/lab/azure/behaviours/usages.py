"""`locations/usages` of Network and Compute, and sizes of virtual machines."""

from __future__ import annotations

from typing import Any

from tests.lab.azure import quotas
from tests.lab.azure.behaviour import ProviderRequest, provider_route


@provider_route("Microsoft.Network", r"locations/(?P<location>[^/]+)/usages")
@provider_route("Microsoft.Compute", r"locations/(?P<location>[^/]+)/usages")
def usages(request: ProviderRequest) -> Any:
    """Current value and limit of each quota of the region."""
    request.authorize(f"{request.namespace}/locations/usages/read")
    request.engine.require_registration(request.subscription, request.namespace)
    location = request.groups["location"].replace(" ", "").lower()
    return {"value": quotas.usages(request.engine, request.subscription, location, request.namespace)}
