# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options by which a module reaches a cluster."""

from __future__ import annotations


class ModuleDocFragment:
    """The options of kubernetes.core, with the same names and environment variables."""

    DOCUMENTATION = r"""
options:
  kubeconfig:
    description:
      - Path of a kubeconfig, or its content as a mapping.
      - If not set, E(K8S_AUTH_KUBECONFIG), then E(KUBECONFIG), then C(~/.kube/config), then the service account of the
        pod this runs in.
    type: raw
  context:
    description: Context of the kubeconfig. If not set, E(K8S_AUTH_CONTEXT), then its current context.
    type: str
  host:
    description: Address of the API server (C(https://...)). If not set, E(K8S_AUTH_HOST).
    type: str
  api_key:
    description: Bearer token. If not set, E(K8S_AUTH_API_KEY).
    type: str
  validate_certs:
    description: Check the API server's certificate. If not set, E(K8S_AUTH_VERIFY_SSL).
    type: bool
    aliases: [verify_ssl]
  ca_cert:
    description: File of the certificate authorities to trust. If not set, E(K8S_AUTH_SSL_CA_CERT).
    type: path
    aliases: [ssl_ca_cert]
  client_cert:
    description: File of the client certificate. If not set, E(K8S_AUTH_CERT_FILE).
    type: path
    aliases: [cert_file]
  client_key:
    description: File of the client certificate's key. If not set, E(K8S_AUTH_KEY_FILE).
    type: path
    aliases: [key_file]
  proxy:
    description: Proxy for the API server. If not set, E(K8S_AUTH_PROXY).
    type: str
  no_proxy:
    description: Hosts that are reached without the proxy, separated by commas. If not set, E(K8S_AUTH_NO_PROXY).
    type: str
"""
