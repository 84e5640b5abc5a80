#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: key_vault_acme_certificate
short_description: Keep a certificate of an ACME authority in an Azure Key Vault
version_added: 0.2.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Orders a certificate for public host names when it is missing, for other names, from another authority, or about to
    end, and keeps it in a Key Vault with its private key. Each name is proven by a TXT record (dns-01) in its public
    Azure DNS zone, which is removed again, also after a failure.
  - Private keys are made by the module and written to the vault; no option, file, result, diff or message holds one.
  - An order is written down in the vault before it is worked on. A run that was interrupted is continued by the next
    one with the same order, so nothing is ordered twice.
  - While the authority refuses, the certificate that is there stays untouched.
  - Check mode asks the vault and the zone only, and says how many days are left.
options:
  vault_id:
    description: ARM id of the vault.
    type: str
    required: true
  name:
    description:
      - Beginning of the names of the secrets. C(<name>-certificate) holds the certificate and those of its authorities,
        C(<name>-key) the private key, both as PEM. C(<name>-order) holds the last order with the key that it was for.
    type: str
    required: true
  dns_names:
    description: Host names. A wildcard is allowed as the whole first label.
    type: list
    elements: str
    required: true
  zone_ids:
    description: ARM ids of the public DNS zones in which the names are.
    type: list
    elements: str
    required: true
  directory:
    description:
      - Address of the authority's directory, C(https://acme-v02.api.letsencrypt.org/directory) for Let's Encrypt.
    type: str
    required: true
  contact:
    description: Mail address for the authority's notices.
    type: str
  terms_agreed:
    description: You agree to the authority's terms of service. It issues nothing without.
    type: bool
    default: false
  certificate_profile:
    description: Profile of the authority, V(tlsserver) or V(shortlived) for Let's Encrypt; by default its own choice.
    type: str
  account_key:
    description: Name of the secret with the private key of the account, made when it is missing.
    type: str
    default: acme-account-key
  renew_before_days:
    description:
      - Days before its end at which the certificate is renewed, at most a third of its whole life.
    type: int
    default: 30
  dns_servers:
    description:
      - Who is asked whether the TXT records can be seen, before the authority is told to look, as C(address) or
        C(address:port). By default the name servers of the zone.
    type: list
    elements: str
    default: []
  dns_timeout:
    description: Seconds until they must show the records.
    type: int
    default: 120
  timeout:
    description: Seconds that the authority may take for each of its steps.
    type: int
    default: 300
  tags:
    description: Tags of the secrets. Others that are there stay.
    type: dict
    default: {}
  expect_plan:
    description: Digest of the approved plan (RV(plan_digest)). A real run refuses to do anything else.
    type: str
extends_documentation_fragment:
  - audioprothese.platform.azure
  - audioprothese.platform.converge.lease
attributes:
  check_mode:
    support: full
    description: Predicts an order without asking the authority.
  diff_mode:
    support: full
    description: Shows what differs, never a key.
  idempotent:
    support: full
    description: A certificate that fits and does not end soon stays.
requirements:
  - acme >= 5
  - azure-identity
  - azure-mgmt-core
  - cryptography >= 43
  - dnspython >= 2.7
seealso:
  - module: audioprothese.platform.key_vault_secrets
  - name: Azure built-in roles
    description: The identity needs Key Vault Secrets Officer on the vault and DNS Zone Contributor on the zones.
    link: https://learn.microsoft.com/azure/role-based-access-control/built-in-roles
  - name: RFC 8555
    description: Automatic Certificate Management Environment.
    link: https://www.rfc-editor.org/rfc/rfc8555
"""

EXAMPLES = r"""
- name: Keep the certificate of the public hosts
  audioprothese.platform.key_vault_acme_certificate:
    vault_id: "{{ platform_ids.key_vault }}"
    name: gateway-tls
    dns_names: [openmrs.soins.audioprothese.example]
    zone_ids: ["{{ platform_ids.dns_zone }}"]
    directory: https://acme-v02.api.letsencrypt.org/directory
    contact: securite@audioprothese.example
    terms_agreed: true
"""

RETURN = r"""
resources:
  description: The secrets after the run (before it, in check mode) by resource id, without their values.
  returned: always
  type: dict
  sample:
    /subscriptions/.../vaults/kv-demo/secrets/gateway-tls-certificate:
      name: gateway-tls-certificate
      contentType: application/x-pem-file
      enabled: true
      expiresOn: "2027-02-23T21:40:00+00:00"
      tags: {acme-directory: "https://acme-v02.api.letsencrypt.org/directory"}
findings:
  description: Why the certificate is ordered, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: vault
      resource: /subscriptions/.../vaults/kv-demo/secrets/gateway-tls-certificate
      type: Microsoft.KeyVault/vaults/secrets
      path: notAfter
      verdict: drift
      action: update
      desired: more than 30 days ahead
      live: "2026-12-01T00:00:00+00:00"
      origin: ""
      message: "5 days left (it ends on 2026-12-01): it would be renewed."
plan:
  description: What is done (in check mode, would be done), in order. C(action) is C(create) or C(update).
  returned: always
  type: list
  elements: dict
  sample:
    - action: update
      resource: /subscriptions/.../vaults/kv-demo/secrets/gateway-tls-certificate
      type: Microsoft.KeyVault/vaults/secrets
      changes:
        - path: notAfter
          desired: more than 30 days ahead
          live: "2026-12-01T00:00:00+00:00"
      unverified: false
plan_digest:
  description: Stable hash of the plan, the same in check and real mode.
  returned: always
  type: str
  sample: sha256:2f1a...
timing:
  description: Seconds by phase.
  returned: always
  type: dict
  sample: {read: 0.2, plan: 0.0, apply: 14.1, total: 14.3}
requests:
  description: Requests to Azure by verb; retries and throttled answers apart.
  returned: always
  type: dict
  sample: {GET: 6, PUT: 4, DELETE: 1, TOKEN: 2, retries: 0, throttled: 0}
"""

import importlib.util
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.authority import Authority
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.errors import LIBRARY_IMPORT_ERROR
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.records import ChallengeRecords
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.runner import Options, Runner
from ansible_collections.audioprothese.platform.plugins.module_utils.acme.wanted import argument_spec, request_from
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec, auth_options
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.face import exit_with
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import open_lease
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.report import Report
from ansible_collections.audioprothese.platform.plugins.module_utils.vault.client import VaultClient


def main() -> t.NoReturn:
    module = AnsibleModule(argument_spec={**argument_spec(), **auth_argument_spec()}, supports_check_mode=True)
    if LIBRARY_IMPORT_ERROR:
        module.fail_json(msg=missing_required_lib("acme"), exception=LIBRARY_IMPORT_ERROR)
    if importlib.util.find_spec("dns") is None:
        module.fail_json(msg=missing_required_lib("dnspython"))
    exit_with(module, lambda: _converge(module), libraries="azure-identity, azure-mgmt-core")


def _converge(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    progress = Progress(params["_progress"])
    request = request_from(params)
    azure = connect(params, progress=progress, verbosity=module._verbosity)
    runner = Runner(
        VaultClient(azure, request.vault_id),
        ChallengeRecords(azure, request.dns_servers, progress),
        lambda account_key: Authority(request.directory, account_key, timeout=request.timeout),
        Options(check=module.check_mode, expect_plan=params["expect_plan"] or ""),
        hold=lambda: open_lease(params, say=progress.say, connection=auth_options(params)),
        learn=module.no_log_values.add,
        report=Report(requests=azure.requests, progress=progress),
    )
    return runner.run(request)


if __name__ == "__main__":
    main()
