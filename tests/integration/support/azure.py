"""Microsoft's own clients on the lab: the other means by which tests read and change what the product built."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from azure.identity import ClientSecretCredential

from tests.integration.support.lab import Lab


@contextlib.contextmanager
def trusted(lab: Lab) -> Iterator[None]:
    """Let clients that take no option for it trust the lab's authority."""
    kept = {name: os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE")}
    os.environ.update(dict.fromkeys(kept, lab.info["ca_file"]))
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def credential(lab: Lab) -> ClientSecretCredential:
    """Sign in as the lab's main client."""
    return ClientSecretCredential(
        lab.info["tenant_id"],
        lab.info["client_id"],
        lab.info["client_secret"],
        authority=lab.info["authority_host"],
        disable_instance_discovery=True,
        connection_verify=lab.info["ca_file"],
    )


def client(lab: Lab, cls: Any, **options: Any) -> Any:
    """Make an azure-mgmt client that talks to the lab."""
    return cls(
        credential(lab),
        lab.info["subscription_id"],
        base_url=lab.info["arm_endpoint"],
        credential_scopes=[f"{lab.info['arm_endpoint']}/.default"],
        connection_verify=lab.info["ca_file"],
        polling_interval=1,
        **options,
    )


def resource_ids(lab: Lab, type_name: str = "") -> list[str]:
    """Return the ids of what the simulated Azure holds, of one type if named."""
    listed: list[str] = lab.control("GET", "/lab/resources")["value"]
    return [entry for entry in listed if not type_name or type_of(entry).lower() == type_name.lower()]


def type_of(resource_id: str) -> str:
    """Return the type that an id names."""
    _before, slash, last = resource_id.rpartition("/providers/")
    if not slash:
        return "Microsoft.Resources/resourceGroups"
    parts = last.split("/")
    return "/".join([parts[0], *parts[1::2]]) if len(parts) > 1 else "Microsoft.Resources/providers"
