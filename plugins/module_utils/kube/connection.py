# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a cluster is and who we are there: kubernetes.core's options, or an AKS cluster's id and the Azure identity."""

from __future__ import annotations

import base64
import copy
import os
import typing as t
from collections.abc import Mapping

from ansible.module_utils.basic import env_fallback
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.catalogue import facts_of
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.errors import ArmError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.errors import KubeError

if t.TYPE_CHECKING:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import ArmClient
    from kubernetes.client import Configuration

__all__ = [
    "AKS_SCOPE",
    "AUTH_OPTIONS",
    "aks_cluster_entry",
    "aks_configuration",
    "auth_argument_spec",
    "configuration",
    "private_hint",
    "secrets_of",
]

AKS_SCOPE = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"
"""The application every AKS API server with Entra integration belongs to (learn.microsoft.com, "AKS-managed Microsoft
Entra integration")."""

_CLUSTER_TYPE = "Microsoft.ContainerService/managedClusters"

_AUTH: dict[str, dict[str, t.Any]] = {
    "kubeconfig": {"type": "raw", "fallback": (env_fallback, ["K8S_AUTH_KUBECONFIG"])},
    "context": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_CONTEXT"])},
    "host": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_HOST"])},
    "api_key": {"type": "str", "no_log": True, "fallback": (env_fallback, ["K8S_AUTH_API_KEY"])},
    "validate_certs": {"type": "bool", "aliases": ["verify_ssl"], "fallback": (env_fallback, ["K8S_AUTH_VERIFY_SSL"])},
    "ca_cert": {"type": "path", "aliases": ["ssl_ca_cert"], "fallback": (env_fallback, ["K8S_AUTH_SSL_CA_CERT"])},
    "client_cert": {"type": "path", "aliases": ["cert_file"], "fallback": (env_fallback, ["K8S_AUTH_CERT_FILE"])},
    "client_key": {
        "type": "path",
        "no_log": False,
        "aliases": ["key_file"],
        "fallback": (env_fallback, ["K8S_AUTH_KEY_FILE"]),
    },
    "proxy": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_PROXY"])},
    "no_proxy": {"type": "str", "fallback": (env_fallback, ["K8S_AUTH_NO_PROXY"])},
}

AUTH_OPTIONS = tuple(_AUTH)
"""Names of the options, those of kubernetes.core without basic authentication, which no API server has any more."""


def auth_argument_spec() -> dict[str, dict[str, t.Any]]:
    """A fresh copy of the options, to be extended by a module."""
    return copy.deepcopy(_AUTH)


def secrets_of(kubeconfig: t.Any) -> set[str]:
    """Tokens, keys and passwords inside a kubeconfig given as a mapping."""
    if not isinstance(kubeconfig, Mapping):
        return set()
    users = [entry.get("user") or {} for entry in kubeconfig.get("users") or () if isinstance(entry, Mapping)]
    fields = ("token", "password", "client-key-data")
    return {str(user[field]) for user in users for field in fields if user.get(field)}


def configuration(params: Mapping[str, t.Any]) -> Configuration:
    """The connection these options describe.

    A C(host) stands alone; otherwise a kubeconfig is read (option, C(KUBECONFIG), C(~/.kube/config)); otherwise, inside
    a pod, its service account is used.

    Raises:
        InputError: the kubeconfig cannot be used.
    """
    from kubernetes import client, config  # noqa: PLC0415  (1 s: only when a cluster is asked)
    from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415

    settings = client.Configuration()
    kubeconfig, context = params.get("kubeconfig"), params.get("context")
    try:
        if isinstance(kubeconfig, Mapping):
            config.load_kube_config_from_dict(
                dict(kubeconfig), context=context, client_configuration=settings, persist_config=False
            )
        elif kubeconfig or not params.get("host"):
            path = os.path.expanduser(str(kubeconfig)) if kubeconfig else None  # noqa: PTH111
            if path is None and not _default_kubeconfig() and os.environ.get("KUBERNETES_SERVICE_HOST"):
                config.load_incluster_config(client_configuration=settings)
            else:
                config.load_kube_config(
                    config_file=path, context=context, client_configuration=settings, persist_config=False
                )
    except (ConfigException, OSError, TypeError, KeyError, ValueError) as exc:
        where = str(kubeconfig) if isinstance(kubeconfig, str) else "kubeconfig"
        raise InputError(
            f"it gives no connection: {_first_line(exc)}",
            where=where,
            remedy="Name a kubeconfig (kubeconfig, K8S_AUTH_KUBECONFIG), a host, or an AKS cluster (cluster)",
        ) from exc
    return _overridden(settings, params)


def aks_cluster_entry(arm: ArmClient, cluster: str) -> dict[str, t.Any] | None:
    """C(server) and C(certificate-authority-data) of an AKS cluster, or None while there is no such cluster.

    Args:
        arm: client of ARM, whose identity is used.
        cluster: ARM id of the managed cluster.

    Raises:
        ArmError: the cluster may not be read.
        KubeError: the cluster gives no usable address.
    """
    import yaml  # noqa: PLC0415

    try:
        answer = arm.post(
            f"{cluster.rstrip('/')}/listClusterUserCredential",
            facts_of(_CLUSTER_TYPE).api_version,
            doing="find the cluster's address",
        )
    except ArmError as exc:
        if exc.not_there:
            return None
        raise
    try:
        encoded = answer["kubeconfigs"][0]["value"]
        entry: dict[str, t.Any] = yaml.safe_load(base64.b64decode(encoded))["clusters"][0]["cluster"]
        entry["server"]
    except (KeyError, IndexError, TypeError, ValueError, yaml.YAMLError) as exc:
        raise KubeError(
            "the credential list holds no kubeconfig",
            where=cluster,
            remedy="Wait until the cluster is provisioned, and check that it has Entra integration",
        ) from exc
    return entry


def aks_configuration(arm: ArmClient, cluster: str) -> Configuration | None:
    """The connection to an AKS cluster with a token of the Azure identity, or None while there is no such cluster.

    Args:
        arm: client of ARM, whose identity is used.
        cluster: ARM id of the managed cluster.

    Raises:
        ArmError: the cluster may not be read, or no token is given.
        KubeError: the cluster gives no usable address.
    """
    cluster_entry = aks_cluster_entry(arm, cluster)
    if cluster_entry is None:
        return None
    from kubernetes import client, config  # noqa: PLC0415

    settings = client.Configuration()
    entry = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "aks", "cluster": cluster_entry}],
        "contexts": [{"name": "aks", "context": {"cluster": "aks", "user": "entra"}}],
        "users": [],
        "current-context": "aks",
    }
    config.load_kube_config_from_dict(entry, client_configuration=settings, persist_config=False)

    def refresh(target: Configuration) -> None:
        target.api_key["authorization"] = f"Bearer {arm.token(AKS_SCOPE)}"

    refresh(settings)
    settings.refresh_api_key_hook = refresh  # type: ignore[assignment]
    return settings


def private_hint(host: str) -> str:
    """What to do when an AKS API server cannot be reached."""
    return (
        f"If {host.partition('://')[2]} is the address of a private cluster, run from where its network is reachable: "
        "a host in a peered virtual network, through the VPN, or an AWX instance group inside"
    )


def _overridden(settings: Configuration, params: Mapping[str, t.Any]) -> Configuration:
    names = {"host": "host", "ca_cert": "ssl_ca_cert", "client_cert": "cert_file", "client_key": "key_file"}
    for option, attribute in {**names, "proxy": "proxy", "no_proxy": "no_proxy"}.items():
        if params.get(option):
            setattr(settings, attribute, str(params[option]).rstrip("/") if option == "host" else params[option])
    if params.get("validate_certs") is not None:
        settings.verify_ssl = bool(params["validate_certs"])
    if params.get("api_key"):
        settings.api_key["authorization"] = f"Bearer {params['api_key']}"
        settings.api_key.pop("BearerToken", None)
        settings.refresh_api_key_hook = None
    return settings


def _default_kubeconfig() -> bool:
    paths = os.environ.get("KUBECONFIG", "~/.kube/config").split(os.pathsep)
    return any(path and os.path.exists(os.path.expanduser(path)) for path in paths)  # noqa: PTH110, PTH111


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
