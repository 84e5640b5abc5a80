"""Who exists in the lab's directory: service principals, managed identities, groups and users."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import asdict, dataclass
from typing import Any

from tests.lab.azure.settings import Settings
from tests.lab.azure.store import Store

KIND = "principal"


@dataclass(frozen=True, kw_only=True)
class Principal:
    """An identity. `kind` is ServicePrincipal, ManagedIdentity, Group or User; `resource` the ARM id it belongs to.

    Of an application, `redirect_uris` are where people may be led back to, and `subjects` the ServiceAccounts whose
    tokens it takes in place of a secret, of any cluster of the lab: there is none yet when it is registered.
    """

    object_id: str
    client_id: str = ""
    kind: str = "ServicePrincipal"
    name: str = ""
    groups: tuple[str, ...] = ()
    secret_hash: str = ""
    secret_expired: bool = False
    resource: str = ""
    redirect_uris: tuple[str, ...] = ()
    subjects: tuple[str, ...] = ()

    @property
    def arm_type(self) -> str:
        """The principalType of role assignments."""
        return "ServicePrincipal" if self.kind == "ManagedIdentity" else self.kind


def hash_secret(secret: str) -> str:
    """Secrets of principals are compared, never read back."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Directory:
    """The principals of the one tenant."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def seed(self) -> None:
        """Create what the lab starts with, unless it is there."""
        wanted = self._settings
        for principal in (
            Principal(
                object_id=wanted.object_id,
                client_id=wanted.client_id,
                name="lab",
                groups=(wanted.admin_group_id,),
                secret_hash=hash_secret(wanted.client_secret),
            ),
            Principal(
                object_id=wanted.second_object_id,
                client_id=wanted.second_client_id,
                name="lab-without-roles",
                secret_hash=hash_secret(wanted.second_client_secret),
            ),
            Principal(object_id=wanted.admin_group_id, kind="Group", name="platform-admins"),
            # People, and what they sign in to.
            Principal(
                object_id=wanted.operator_object_id,
                kind="User",
                name="operator@lab.audioprothese.example",
                groups=(wanted.admin_group_id,),
            ),
            Principal(object_id=wanted.visitor_object_id, kind="User", name="visitor@lab.audioprothese.example"),
            Principal(
                object_id=wanted.application_id,
                client_id=wanted.application_id,
                name="platform-sign-in",
                # What an administrator registers for inventories/lab (README.md of the roles oauth2_proxy and argocd).
                redirect_uris=(
                    "https://alertmanager.lab.audioprothese.example/oauth2/callback",
                    "https://prometheus.lab.audioprothese.example/oauth2/callback",
                    "https://argocd.lab.audioprothese.example/auth/callback",
                ),
                subjects=(
                    "system:serviceaccount:access:oauth2-proxy",
                    "system:serviceaccount:argocd:argocd-server",
                ),
            ),
        ):
            if self.by_object_id(principal.object_id) is None:
                self.save(principal)

    def save(self, principal: Principal) -> None:
        """Create or replace."""
        self._store.put_record(KIND, principal.object_id.lower(), asdict(principal))

    def delete(self, object_id: str) -> None:
        """Remove; its role assignments stay, as in Azure."""
        self._store.delete_record(KIND, object_id.lower())

    def by_object_id(self, object_id: str) -> Principal | None:
        """Find by object id."""
        found = self._store.record(KIND, object_id.lower())
        return _principal(found) if found else None

    def by_client_id(self, client_id: str) -> Principal | None:
        """Find by client (application) id."""
        wanted = client_id.lower()
        for _, raw in self._store.records(KIND):
            if wanted and raw["client_id"].lower() == wanted:
                return _principal(raw)
        return None

    def all(self) -> list[Principal]:
        """Everybody."""
        return [_principal(raw) for _, raw in self._store.records(KIND)]


def secret_matches(principal: Principal, secret: str) -> bool:
    """Whether `secret` is the principal's client secret."""
    return bool(principal.secret_hash) and hmac.compare_digest(principal.secret_hash, hash_secret(secret))


def _principal(raw: dict[str, Any]) -> Principal:
    lists = {key: tuple(value) for key, value in raw.items() if isinstance(value, list)}
    return Principal(**{**raw, **lists})
