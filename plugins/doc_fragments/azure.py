# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options by which modules find their Azure identity."""

from __future__ import annotations


class ModuleDocFragment:
    """The same names as in azure.azcollection's C(azure) fragment, so that credentials set up for it work here."""

    DOCUMENTATION = r"""
options:
  auth_source:
    description:
      - Where the credentials come from.
      - With V(auto), the options below are tried first, then the environment, then the profile V(default) of
        C(~/.azure/credentials), then the Azure CLI.
      - Also taken from E(ANSIBLE_AZURE_AUTH_SOURCE).
    type: str
    choices: [auto, cli, credential_file, env, msi]
    default: auto
  profile:
    description: Section of C(~/.azure/credentials) to use. Also taken from E(AZURE_PROFILE).
    type: str
  subscription_id:
    description:
      - Subscription of the identity. The ids in the documents say where resources are, so it is rarely needed.
      - Also taken from E(AZURE_SUBSCRIPTION_ID).
    type: str
  client_id:
    description: Application id of a service principal or managed identity. Also taken from E(AZURE_CLIENT_ID).
    type: str
  secret:
    description: Client secret of the service principal. Also taken from E(AZURE_SECRET) and E(AZURE_CLIENT_SECRET).
    type: str
  tenant:
    description: Tenant of the identity. Also taken from E(AZURE_TENANT) and E(AZURE_TENANT_ID).
    type: str
  ad_user:
    description: Name of a user, instead of a service principal. Also taken from E(AZURE_AD_USER).
    type: str
  password:
    description: Password of O(ad_user). Also taken from E(AZURE_PASSWORD).
    type: str
  cloud_environment:
    description:
      - V(AzureCloud), V(AzureChinaCloud) or V(AzureUSGovernment), or the address of an ARM endpoint or of its metadata
        document, as Azure Stack has one.
      - Also taken from E(AZURE_CLOUD_ENVIRONMENT). Without either it is V(AzureCloud).
    type: str
  adfs_authority_url:
    description: Authority that gives the tokens, if not the cloud's own. Also taken from E(AZURE_ADFS_AUTHORITY_URL).
    type: str
  cert_validation_mode:
    description:
      - Whether server certificates are checked. V(ignore) is for an intercepting proxy only.
      - Also taken from E(AZURE_CERT_VALIDATION_MODE). A private CA is better named in E(REQUESTS_CA_BUNDLE).
    type: str
    choices: [ignore, validate]
  x509_certificate_path:
    description:
      - PEM file with certificate and private key of the service principal.
      - Also taken from E(AZURE_X509_CERTIFICATE_PATH).
    type: path
  thumbprint:
    description: Accepted for compatibility; it is computed from the certificate. Also taken from E(AZURE_THUMBPRINT).
    type: str
  federated_token_file:
    description:
      - File with a token of another issuer that the identity trusts (workload identity federation).
      - Also taken from E(AZURE_FEDERATED_TOKEN_FILE).
    type: path
  disable_instance_discovery:
    description:
      - Do not ask Microsoft whether the authority is one of its own; for Azure Stack and other private clouds.
      - Also taken from E(AZURE_DISABLE_INSTANCE_DISCOVERY).
    type: bool
  api_profile:
    description: Accepted for compatibility; API versions are those of the documents.
    type: str
    default: latest
  log_path:
    description: Accepted for compatibility, and not used.
    type: str
  log_mode:
    description: Accepted for compatibility, and not used.
    type: str
requirements:
  - python >= 3.12
  - azure-core >= 1.32
  - azure-identity >= 1.19
  - azure-mgmt-core >= 1.5
"""
