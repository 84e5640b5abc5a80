"""Names of data planes as pods call them: `VAULT.vault.DOMAIN` and `ACCOUNT.blob.DOMAIN`, as in Azure.

Whoever is on the machine itself calls an address (a vault) or a path (an account), for it needs no name server.
"""

from __future__ import annotations

from starlette.types import Scope

from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Store

VAULT_TYPE = "microsoft.keyvault/vaults"
# In the scope of a request that came by name: the address that a vault's answers have to name.
ADDRESS = "lab.address"


class Names:
    """Tells what a name means."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store, self._settings = store, settings

    def translated(self, scope: Scope) -> Scope:
        """Return a request as it would have come from the machine itself; one to another host as it is."""
        domain = self._settings.service_domain
        host = next((value.decode().lower() for name, value in scope["headers"] if name == b"host"), "")
        name, _, kind = host.partition(":")[0].removesuffix(f".{domain}").partition(".")
        if not domain or kind not in ("blob", "vault") or not host.partition(":")[0].endswith(f".{kind}.{domain}"):
            return scope
        if kind == "blob":
            path = f"/blob/{name}{scope['path']}"
            return {**scope, "path": path, "raw_path": f"/blob/{name}".encode() + scope.get("raw_path", b"")}
        found = self._store.find(VAULT_TYPE, name=name)
        number = int(found[0].private["number"]) if found else self._settings.vault_count + 1
        address = self._settings.vault_host.format(number=number)
        others = [entry for entry in scope["headers"] if entry[0] != b"host"]
        return {**scope, "headers": [*others, (b"host", address.encode())], ADDRESS: f"https://{host}"}
