#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Face of the questions that a browser would ask."""

from __future__ import annotations

DOCUMENTATION = r"""
module: verify_pages
short_description: Ask pages from outside and judge certificate, status, headers and content
version_added: 0.2.0
author:
  - AudioProthese+ platform team (@audioprothese)
description:
  - Asks pages in the order in which they are listed, as a browser does, follows no redirect, and holds each answer
    against what must be true of it.
  - Verifies the certificate of each HTTPS host once, its chain, its name and how long it still lasts.
  - The text C($nonce) in a body and in O(pages[].json) is one random value for the whole task, so that what is read
    back can only be what was just written.
options:
  pages:
    description: What is asked.
    type: list
    elements: dict
    required: true
    suboptions:
      url:
        description: Where, C(http) or C(https).
        type: str
        required: true
      method:
        description: Verb. In check mode only C(GET) and C(HEAD) are sent.
        type: str
        default: GET
      status:
        description: Each of these is right.
        type: list
        elements: int
        default: [200]
      headers:
        description: Header names and the regular expression that each must match.
        type: dict
        default: {}
      body:
        description: Regular expression that the answer must hold.
        type: str
      json:
        description: Paths in a JSON answer and the value of each.
        type: dict
        default: {}
      send:
        description: Sent as JSON.
        type: dict
      login:
        description: Whether the request signs in with O(login).
        type: bool
        default: false
  login:
    description: Who signs in to pages that ask for it, and the vault secret that holds the password.
    type: dict
    suboptions:
      name:
        description: Name of the user.
        type: str
        required: true
      vault_id:
        description: ARM id of the vault.
        type: str
        required: true
      secret:
        description: Name of the secret. The value is read by the module and returned nowhere.
        type: str
        required: true
  addresses:
    description: What is connected to in place of the address of a name, C(host:port) by scheme, to reach a name that
      no DNS knows yet.
    type: dict
    default: {}
  ca_path:
    description: PEM file of the authorities that are trusted; without it those of the machine.
    type: path
  certificate_days:
    description: Days that a certificate must still last.
    type: int
    default: 14
  patience:
    description: Seconds in which a page may become right, since a new route takes a moment to reach every proxy.
    type: int
    default: 60
  timeout:
    description: Seconds to wait for one answer.
    type: int
    default: 20
extends_documentation_fragment:
  - audioprothese.platform.azure
attributes:
  check_mode:
    description: Sends nothing that could change anything; those pages are C(not_verifiable) then.
    support: full
  diff_mode:
    description: Changes nothing.
    support: none
  idempotent:
    description: A page with another method than C(GET) is asked each time.
    support: partial
"""

EXAMPLES = r"""
- name: Ask from outside
  audioprothese.platform.verify_pages:
    pages:
      - url: http://openmrs.example.fr/
        status: [301, 308]
        headers: {location: "^https://openmrs.example.fr/"}
      - url: https://openmrs.example.fr/openmrs/ws/rest/v1/session
        headers: {strict-transport-security: max-age=\d+}
        json: {authenticated: false}
      - url: https://openmrs.example.fr/openmrs/ws/rest/v1/systemsetting
        method: POST
        status: [200, 201]
        login: true
        send: {property: platform.verified, value: $nonce}
      - url: https://openmrs.example.fr/openmrs/ws/rest/v1/systemsetting/platform.verified?v=full
        login: true
        json: {value: $nonce}
    login:
      name: admin
      vault_id: "{{ platform_ids.key_vault }}"
      secret: openmrs-admin-password
"""

RETURN = r"""
findings:
  description: One for each thing that was looked at.
  returned: always
  type: list
  elements: dict
  sample:
    - {source: http, resource: "https://openmrs.example.fr/", path: status, verdict: equal, desired: [200], live: 200}
"""

import datetime as dt
import secrets
import time
import traceback
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError, PlatformError
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.https import Client
from ansible_collections.audioprothese.platform.plugins.module_utils.verify.pages import (
    Answer,
    judge_certificate,
    judge_page,
    not_asked,
)

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding

_NONCE: t.Final = "$nonce"
_READING: t.Final = ("GET", "HEAD")
_EVERY: t.Final = 2.0

ARGSPEC: t.Final[dict[str, dict[str, t.Any]]] = {
    "pages": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "url": {"type": "str", "required": True},
            "method": {"type": "str", "default": "GET"},
            "status": {"type": "list", "elements": "int", "default": [200]},
            "headers": {"type": "dict", "default": {}},
            "body": {"type": "str"},
            "json": {"type": "dict", "default": {}},
            "send": {"type": "dict"},
            "login": {"type": "bool", "default": False},
        },
    },
    "login": {
        "type": "dict",
        "options": {
            "name": {"type": "str", "required": True},
            "vault_id": {"type": "str", "required": True},
            "secret": {"type": "str", "required": True, "no_log": False},
        },
    },
    "addresses": {"type": "dict", "default": {}},
    "ca_path": {"type": "path"},
    "certificate_days": {"type": "int", "default": 14},
    "patience": {"type": "int", "default": 60},
    "timeout": {"type": "int", "default": 20},
}


def main() -> t.NoReturn:
    """Ask and judge."""
    module = AnsibleModule(argument_spec={**auth_argument_spec(), **ARGSPEC}, supports_check_mode=True)
    try:
        findings = list(_findings(module))
    except PlatformError as exc:
        module.fail_json(msg=str(exc))
    except OSError as exc:
        module.fail_json(msg=f"ca_path {module.params['ca_path']!r} cannot be used: {exc}. Name a PEM file.")
    except ImportError as exc:
        module.fail_json(msg=missing_required_lib(str(exc.name)), exception=traceback.format_exc())
    module.exit_json(changed=False, findings=[finding.to_dict() for finding in findings])


def _findings(module: AnsibleModule) -> t.Iterator[Finding]:
    params = module.params
    client = Client(ca_path=params["ca_path"] or "", addresses=params["addresses"], timeout=params["timeout"])
    nonce = secrets.token_hex(8)
    pages = _with_nonce(params["pages"], nonce)
    yield from _certificates(client, pages, params["certificate_days"])
    login = _login(params) if any(page["login"] for page in pages) else None
    deadline = time.monotonic() + params["patience"]
    for page in pages:
        if module.check_mode and page["method"] not in _READING:
            yield not_asked(page, "check mode sends nothing that changes anything")
        elif module.check_mode and nonce in page["json"].values():
            yield not_asked(page, "check mode wrote nothing that could be read back")
        elif page["login"] and login is None:
            yield not_asked(page, f"the vault has no secret {params['login']['secret']} yet")
        else:
            yield from _ask(client, page, login if page["login"] else None, deadline)


def _certificates(client: Client, pages: list[dict[str, t.Any]], days: int) -> t.Iterator[Finding]:
    hosts = {client.target(page["url"]).host: page["url"] for page in pages if page["url"].startswith("https:")}
    for host, url in hosts.items():
        yield judge_certificate(host, client.certificate(url), now=dt.datetime.now(dt.UTC), days=days)


def _ask(client: Client, page: dict[str, t.Any], login: tuple[str, str] | None, deadline: float) -> list[Finding]:
    while True:
        answer: Answer = client.ask(page["url"], method=page["method"], body=page["send"], login=login)
        findings = judge_page(page, answer)
        if all(finding.verdict == "equal" for finding in findings) or time.monotonic() > deadline:
            return findings
        time.sleep(_EVERY)


def _with_nonce(value: t.Any, nonce: str) -> t.Any:
    if isinstance(value, dict):
        return {key: _with_nonce(item, nonce) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_nonce(item, nonce) for item in value]
    return value.replace(_NONCE, nonce) if isinstance(value, str) else value


def _login(params: dict[str, t.Any]) -> tuple[str, str] | None:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect  # noqa: PLC0415
    from ansible_collections.audioprothese.platform.plugins.module_utils.kube.lookup import (  # noqa: PLC0415
        Azure,
        Lookup,
    )

    login = params["login"]
    if not login:
        raise InputError("a page signs in, and nobody says as whom", where="login", remedy="Set login")
    password = Lookup(Azure(lambda: connect(params))).secret(login["vault_id"], login["secret"])
    return None if password is None else (login["name"], password)


if __name__ == "__main__":
    main()
