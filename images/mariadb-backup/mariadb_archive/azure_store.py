"""A Blob container as the store."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceModifiedError
from azure.storage.blob import BlobBlock, ContainerClient, ExponentialRetry

from mariadb_archive.errors import BackupError
from mariadb_archive.sealing import pieces
from mariadb_archive.store import AlreadyThere, Blob

__all__ = ["BlobStore"]

# A blob has at most 50,000 blocks: learn.microsoft.com/rest/api/storageservices/put-block#remarks. Of this size that is
# 780 GiB.
BLOCK = 16 << 20
PATIENCE = (5, 2)
THROTTLED = 429
CONFLICTS = ("BlobAlreadyExists", "BlobImmutableDueToPolicy")


class BlobStore:
    """A container of a storage account.

    Args:
        url: https://ACCOUNT.blob.core.windows.net/CONTAINER.
        credential: a credential of azure-identity.
        block: bytes of a block.
        patience: how often what failed is tried again, and the first pause in seconds; the following ones grow.
    """

    def __init__(self, url: str, credential: Any, *, block: int = BLOCK, patience: tuple[int, int] = PATIENCE) -> None:
        again = _Patient(retry_total=patience[0], initial_backoff=patience[1], increment_base=2 if patience[1] else 0)
        self._client = ContainerClient.from_container_url(url, credential, retry_policy=again)
        self.url, self._block = url, block

    def list(self, prefix: str) -> list[Blob]:
        """See Store."""
        try:
            found = self._client.list_blobs(name_starts_with=prefix, include=["metadata"])
            blobs = [Blob(item.name, item.size, (item.metadata or {}).get("manifest", "")) for item in found]
        except AzureError as exc:
            raise self._failed("the blobs cannot be listed", exc) from exc
        return sorted(blobs, key=lambda blob: blob.name)

    def put(self, name: str, parts: Iterable[bytes], manifest: Callable[[], str]) -> None:
        """See Store.

        A block that fails is sent again by the client. When the process dies, its blocks belong to no blob: the next
        attempt begins anew, and Azure forgets them after a week.
        """
        blob, attempt = self._client.get_blob_client(name), uuid.uuid4().hex[:12]
        blocks = []
        try:
            for number, piece in enumerate(pieces(parts, self._block)):
                identity = f"{attempt}-{number:06}"
                blob.stage_block(identity, piece, length=len(piece))
                blocks.append(BlobBlock(identity))
            blob.commit_block_list(
                blocks,
                metadata={"manifest": manifest()},
                match_condition=MatchConditions.IfMissing,
            )
        except (ResourceExistsError, ResourceModifiedError) as exc:
            raise AlreadyThere(name) from exc
        except HttpResponseError as exc:
            if _code(exc) in CONFLICTS:
                raise AlreadyThere(name) from exc
            raise self._failed(f"{name} was not stored", exc) from exc
        except AzureError as exc:
            raise self._failed(f"{name} was not stored", exc) from exc

    def get(self, name: str) -> Iterator[bytes]:
        """See Store."""
        try:
            yield from self._client.download_blob(name, max_concurrency=1).chunks()
        except AzureError as exc:
            raise self._failed(f"{name} cannot be read", exc) from exc

    def delete(self, names: Iterable[str]) -> Mapping[str, str]:
        """See Store."""
        kept = {}
        for name in names:
            try:
                self._client.delete_blob(name)
            except HttpResponseError as exc:
                kept[name] = _code(exc)
            except AzureError as exc:
                raise self._failed(f"{name} was not removed", exc) from exc
        return kept

    def _failed(self, what: str, exc: AzureError) -> BackupError:
        return BackupError(f"{what}: {self.url} answered {_code(exc)}: {str(exc.message).splitlines()[0]}")


class _Patient(ExponentialRetry):
    """Tries again what was throttled as well, which the client's own policy takes for an answer."""

    def send(self, request: Any) -> Any:
        """See HTTPPolicy."""
        response = super().send(request)  # type: ignore[no-untyped-call]
        for number in range(self.total_retries):
            if response.http_response.status_code != THROTTLED:
                break
            told = response.http_response.headers.get("Retry-After", "")
            time.sleep(int(told) if told.isdigit() else self.initial_backoff * 2**number)
            response = super().send(request)  # type: ignore[no-untyped-call]
        return response


def _code(exc: AzureError) -> str:
    return str(getattr(exc, "error_code", None) or getattr(exc, "status_code", None) or type(exc).__name__)
