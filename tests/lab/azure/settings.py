"""What a simulator needs to know to start; everything else is in its database."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

DEFAULT_IDS = {
    "tenant_id": "10000000-0000-4000-8000-000000000001",
    "subscription_id": "10000000-0000-4000-8000-000000000002",
    "client_id": "10000000-0000-4000-8000-000000000003",
    "object_id": "10000000-0000-4000-8000-000000000004",
    "second_client_id": "10000000-0000-4000-8000-000000000005",
    "second_object_id": "10000000-0000-4000-8000-000000000006",
    "admin_group_id": "10000000-0000-4000-8000-000000000007",
    "application_id": "10000000-0000-4000-8000-000000000008",
    "operator_object_id": "10000000-0000-4000-8000-000000000009",
    "visitor_object_id": "10000000-0000-4000-8000-00000000000a",
}
SETTINGS_FILE = "azure.json"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of one simulator.

    `home` holds the database (`azure/state.sqlite3`). `base_url` is how clients reach ARM and Entra, without a trailing
    slash. `vault_host` is a format for the host of vault N. `cluster_manager` names a callable ``module:name`` that
    gets the home directory and returns a ClusterManager; empty means NullClusterManager. `registry_url` is the registry
    that holds the images of every registry, when one runs, `blob_url` the Azurite that holds the blobs; in its place
    `blob_server` names a callable ``module:name`` that gets the home directory at the first request for a blob, starts
    one and returns its URL. Below `service_domain` vaults and accounts have names (`names.py`). `latency_ms` is added
    to every ARM and vault request. `time_scale` multiplies the duration of every long-running operation.
    `retry_after` is what Retry-After says in seconds; less than a second is said by x-ms-retry-after-ms instead.
    `preregistered` lists provider namespaces registered from the start. `without_rules` switches rules of the type data
    off (``<type>#<rule id>``), for tests that must turn red. `dns_port` is where the name servers of the public zones
    answer on loopback; with 0 they do not. Without `keys_followed` disk encryption sets keep their version of a rotated
    key, as they do in Azure for up to an hour.
    """

    home: Path
    base_url: str
    client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    second_client_secret: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    control_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    tenant_id: str = DEFAULT_IDS["tenant_id"]
    subscription_id: str = DEFAULT_IDS["subscription_id"]
    client_id: str = DEFAULT_IDS["client_id"]
    object_id: str = DEFAULT_IDS["object_id"]
    second_client_id: str = DEFAULT_IDS["second_client_id"]
    second_object_id: str = DEFAULT_IDS["second_object_id"]
    admin_group_id: str = DEFAULT_IDS["admin_group_id"]
    application_id: str = DEFAULT_IDS["application_id"]
    operator_object_id: str = DEFAULT_IDS["operator_object_id"]
    visitor_object_id: str = DEFAULT_IDS["visitor_object_id"]
    vault_host: str = "127.10.0.{number}"
    vault_count: int = 64
    cluster_manager: str = ""
    dns_port: int = 0
    registry_url: str = ""
    blob_url: str = ""
    blob_server: str = ""
    service_domain: str = ""
    latency_ms: float = 0.0
    time_scale: float = 1.0
    retry_after: float = 1.0
    token_seconds: int = 3599
    keys_followed: bool = True
    preregistered: tuple[str, ...] = ()
    without_rules: tuple[str, ...] = ()

    @property
    def port(self) -> int:
        """Port of `base_url`."""
        rest = self.base_url.rsplit(":", 1)[-1]
        return int(rest) if rest.isdigit() else 443

    @property
    def database(self) -> Path:
        """Where the state is."""
        return self.home / "azure" / "state.sqlite3"

    @classmethod
    def load(cls, home: Path) -> Settings:
        """Read `home`/azure.json as `save` or the lab's command line wrote it."""
        raw: dict[str, Any] = json.loads((home / SETTINGS_FILE).read_text(encoding="utf-8"))
        known = {entry.name for entry in fields(cls)}
        unknown = set(raw) - known
        if unknown:
            raise ValueError(f"{home / SETTINGS_FILE}: unknown settings {sorted(unknown)}")
        for name in ("preregistered", "without_rules"):
            raw[name] = tuple(raw.get(name, ()))
        return cls(**{**raw, "home": home})

    @classmethod
    def from_environment(cls) -> Settings:
        """The settings of `$LAB_HOME` (default `.lab`); LAB_LATENCY_MS wins over the file."""
        found = cls.load(Path(os.environ.get("LAB_HOME", ".lab")).absolute())
        latency = os.environ.get("LAB_LATENCY_MS")
        if not latency:
            return found
        return cls(**{**asdict(found), "latency_ms": float(latency)})

    def save(self) -> Path:
        """Write the settings to `home`/azure.json, readable by the owner only; returns the path."""
        self.home.mkdir(parents=True, exist_ok=True)
        path = self.home / SETTINGS_FILE
        raw = asdict(self) | {"home": str(self.home)}
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(raw, file, indent=2)
        return path
