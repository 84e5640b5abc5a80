"""Fill the digests of the table of images from the registries that publish them: `make pin-images`.

All or nothing: what cannot be reached is named, and then nothing is written. It needs a machine that reaches them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
import yaml
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

__all__ = ["PinError", "main", "pinned", "resolve"]

TABLE = Path(__file__).resolve().parents[2] / "roles" / "platform" / "files" / "images.yml"
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
# The name in references is not the host that answers.
HOSTS = {"docker.io": "https://registry-1.docker.io"}
TIMEOUTS = (10, 60)
UNAUTHORIZED = 401


class PinError(Exception):
    """An image that cannot be pinned; the message says which and why."""


def main() -> None:
    """Pin every image of the table; the exit code says whether it was written."""
    text = TABLE.read_text(encoding="utf-8")
    images: dict[str, dict[str, str]] = yaml.safe_load(text)
    digests, problems = {}, []
    for name, image in images.items():
        try:
            digests[name] = resolve(image)
        except PinError as exc:
            problems.append(f"{name}: {exc}")
    if problems:
        sys.exit("pin-images: nothing was written:\n  " + "\n  ".join(problems))
    aside = TABLE.with_suffix(".new")
    aside.write_text(pinned(text, digests), encoding="utf-8")
    aside.replace(TABLE)
    for name, digest in digests.items():
        known = images[name]["digest"]
        print(f"{name:24} {digest} {'unchanged' if digest == known else f'was {known or "empty"}'}")


def pinned(text: str, digests: Mapping[str, str]) -> str:
    """Return the table with other digests, its comments and order as they were.

    Raises:
        PinError: an image has no line for its digest.

    """
    lines, name, left = text.splitlines(keepends=True), "", set(digests)
    for number, line in enumerate(lines):
        if found := re.match(r"(\w+):", line):
            name = found[1]
        elif name in left and re.match(r"  digest:", line):
            lines[number] = f"  digest: {digests[name]}\n"
            left.remove(name)
    if left:
        raise PinError(f"no line 'digest:' for {', '.join(sorted(left))}")
    return "".join(lines)


def resolve(image: Mapping[str, str], *, hosts: Mapping[str, str] = HOSTS) -> str:
    """Return the digest of what a tag means now, which serves the platform of the image.

    https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md

    Raises:
        PinError: the registry does not answer, knows no such tag, or has it for other platforms only.

    """
    registry, repository, tag = image["registry"], image["repository"], image["tag"]
    url = f"{hosts.get(registry, f'https://{registry}')}/v2/{repository}"
    session = requests.Session()
    session.mount(
        "https://", HTTPAdapter(max_retries=Retry(total=3, backoff_factor=1, status_forcelist=(429, 502, 503)))
    )
    try:
        answer = _get(session, f"{url}/manifests/{tag}", (*INDEXES, *MANIFESTS), repository)
        digest, body = answer.headers.get("Docker-Content-Digest", ""), answer.json()
        if answer.headers.get("Content-Type", "").partition(";")[0] in INDEXES:
            served = [_platform(item.get("platform", {})) for item in body["manifests"]]
        else:
            blob = _get(session, f"{url}/blobs/{body['config']['digest']}", ("*/*",), repository)
            served = [_platform(blob.json())]
    except requests.RequestException as exc:
        raise PinError(f"{registry} cannot be reached ({type(exc).__name__}); run this where it can") from exc
    except (KeyError, ValueError) as exc:
        raise PinError(f"{registry} answers with no manifest for {repository}:{tag}") from exc
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise PinError(f"{registry} does not say the digest of {repository}:{tag}")
    if image["platform"] not in served:
        raise PinError(f"{repository}:{tag} serves {', '.join(sorted(set(served)))}, not {image['platform']}")
    return digest


def _get(session: requests.Session, url: str, accept: tuple[str, ...], repository: str) -> requests.Response:
    headers = {"Accept": ", ".join(accept)}
    answer = session.get(url, headers=headers, timeout=TIMEOUTS)
    if answer.status_code == UNAUTHORIZED:
        session.headers["Authorization"] = f"Bearer {_token(session, answer, repository)}"
        answer = session.get(url, headers=headers, timeout=TIMEOUTS)
    if not answer.ok:
        raise PinError(f"{url} answers {answer.status_code}")
    return answer


def _token(session: requests.Session, refused: requests.Response, repository: str) -> str:
    """Anonymous, or of REGISTRY_USER and REGISTRY_PASSWORD: https://distribution.github.io/distribution/spec/auth/token/."""
    challenge = dict(re.findall(r'(\w+)="([^"]*)"', refused.headers.get("WWW-Authenticate", "")))
    if "realm" not in challenge:
        raise PinError(f"{refused.url} asks for a login in a way that is not known here")
    query = {"service": challenge.get("service", ""), "scope": f"repository:{repository}:pull"}
    user, password = os.environ.get("REGISTRY_USER"), os.environ.get("REGISTRY_PASSWORD")
    login = (user, password) if user and password else None
    answer = session.get(challenge["realm"], params=query, auth=login, timeout=TIMEOUTS)
    answer.raise_for_status()
    body: dict[str, Any] = answer.json()
    return str(body.get("token") or body["access_token"])


def _platform(described: Mapping[str, Any]) -> str:
    return f"{described.get('os')}/{described.get('architecture')}"


if __name__ == "__main__":
    main()
