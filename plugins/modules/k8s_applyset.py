#!/usr/bin/python
# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: k8s_applyset
short_description: Converge a set of Kubernetes objects
version_added: 0.1.0
author: AudioProthese+ platform team (@audioprothese)
description:
  - Makes a cluster hold exactly the objects of a set, of any kind, and removes members that are no longer declared.
  - Every object is compared with what the API server itself would make of it (server-side apply as a dry run), so that
    check mode reports what a real run would change, path by path, and a real run writes only what differs.
  - Disks of a StatefulSet grow when its C(volumeClaimTemplates) ask for more. The claims are enlarged and the
    StatefulSet is made anew around its pods, which keep running. A smaller size is refused.
  - Membership is written on the cluster as an ApplySet (KEP-3659), which other tools understand.
options:
  applyset:
    description: Name of the set, and of the ConfigMap that is its parent.
    type: str
    required: true
  applyset_namespace:
    description: Namespace of the parent.
    type: str
    default: kube-system
  state:
    description:
      - With V(present) the documents are what the set holds.
      - With V(absent) the objects of the documents are deleted, in the reverse order of creation. Kinds that the
        cluster does not know are absent.
    type: str
    choices: [present, absent]
    default: present
  templates:
    description:
      - Patterns of template files below the C(templates) folder of the role or playbook. Each is rendered with the
        variables of the task and holds any number of YAML documents.
      - The action plugin renders them.
    type: list
    elements: str
    default: []
  documents:
    description:
      - Manifests. C(List) objects are unfolded.
      - A Secret is written with C(stringData); its values may be deferred values of a Key Vault, made by the filter
        P(audioprothese.platform.secret#filter).
    type: list
    elements: dict
    default: []
  chart:
    description: A Helm chart whose rendered objects belong to the set. The same as one item of O(charts).
    type: dict
    suboptions: &chart
      path:
        description: Folder or archive of the chart, relative to the playbook or role.
        type: path
      ref:
        description: Chart in a registry (C(oci://...)) or repository, if it is no local one.
        type: str
      version:
        description: Version of the chart named by O(chart.ref).
        type: str
      release:
        description: Name of the release.
        type: str
        required: true
      namespace:
        description: Namespace of the release; objects that name none are put there.
        type: str
        required: true
      values:
        description: Values of the chart.
        type: dict
      hooks:
        description:
          - What to do with objects that are Helm hooks. Nothing here runs them at the moments Helm would.
          - V(refuse) fails, V(strip) leaves them out. Test hooks are always left out.
        type: str
        choices: [refuse, strip]
        default: refuse
      kube_version:
        description: Kubernetes version the chart is rendered for (C(.Capabilities.KubeVersion)).
        type: str
        default: "1.35"
      api_versions:
        description: Further API versions the chart may ask for (C(.Capabilities.APIVersions)).
        type: list
        elements: str
        default: []
  charts:
    description: Helm charts whose rendered objects belong to the set.
    type: list
    elements: dict
    default: []
    suboptions: *chart
  helm_binary:
    description:
      - The helm executable, version 4 (3.18 or later also works). By default E(HELM_BIN), then C(helm) from the path.
    type: path
  prune:
    description:
      - Delete members of the set that are not declared any more.
      - Nothing is pruned when any object could not be applied.
    type: bool
    default: true
  allow_delete:
    description:
      - Patterns (C(Kind/namespace/name), C(Kind/name) without a namespace; V(*) matches anything) of objects that hold
        state and may be deleted all the same. Namespaces, claims and volumes, definitions of kinds, StatefulSets with
        claims and databases are never deleted otherwise.
      - An empty set deletes only what is named here.
    type: list
    elements: str
    default: []
  allow_upgrade:
    description:
      - Patterns, as in O(allow_delete), of objects whose data may be rewritten by another version of their program.
      - The annotation C(platform.audioprothese/data-series) of an object says of which versions its data is. A value
        that differs from the live one is refused otherwise, for only a restore leads back. Prove a backup first.
    type: list
    elements: str
    default: []
  allow_other_volumes:
    description:
      - Patterns, as in O(allow_delete), of StatefulSets whose pods may start on other volumes, with the data that is
        there. That is what other names of their C(volumeClaimTemplates) mean, and it is refused otherwise.
      - With this consent the StatefulSet is stopped, deleted with its pods and made anew. Its claims stay, so the names
        of before lead back. Claims of the new names must be there, and no restore into one may have been cut short.
    type: list
    elements: str
    default: []
  force_conflicts:
    description:
      - Take over fields that other field managers hold with other values.
      - By default this is an error that names manager and path, except for the managers in O(take_over).
    type: bool
    default: false
  take_over:
    description:
      - Patterns of field managers whose fields are taken over without O(force_conflicts). By default those are the
        tools by which people edit objects by hand, which is the drift this module corrects, and Argo CD, of objects
        that it has let go of.
    type: list
    elements: str
    default: [argocd-controller, before-first-apply, "k9s*", "kubectl*", "Mozilla*"]
  wait:
    description: Wait until the objects are ready.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait until all objects are ready.
    type: int
    default: 600
  timeout:
    description: Seconds that deleted objects may take to be gone, and new namespaces and kinds to be usable.
    type: int
    default: 300
  parallel:
    description: Requests under way at once.
    type: int
    default: 12
  cluster:
    description:
      - ARM id of an AKS cluster. Its address is read from ARM, and the token is one of the Azure identity, so that
        neither kubelogin nor an administrator's kubeconfig is needed.
      - While there is no such cluster, check mode reports every object as missing and unverified.
      - Without it the options of the kubernetes.core collection decide.
    type: str
  resources:
    description:
      - Live Azure resources by id, as RV(audioprothese.platform.arm_resources#module:resources) returns them. Deferred
        values are taken from there; what is not there is read from ARM.
    type: dict
    default: {}
  expect_plan:
    description: Digest of the approved plan (RV(plan_digest)). A real run refuses to do anything else.
    type: str
extends_documentation_fragment:
  - audioprothese.platform.converge.lease
  - audioprothese.platform.converge.redaction
  - audioprothese.platform.kubernetes
  - audioprothese.platform.azure
  - audioprothese.platform._attributes.actiongroups
attributes:
  check_mode:
    support: full
    description: The API server judges every object in a dry run. What it cannot judge yet, because a namespace, a kind
      or the cluster does not exist, is predicted and marked C(unverified).
  diff_mode:
    support: full
    description: Also for what is created or deleted. Secrets are fingerprints.
  idempotent:
    support: full
    description: Objects the API server would not change are not written.
notes:
  - Progress is printed while the task runs, from C(-v) on each request with its duration too.
  - An object that Argo CD or another ApplySet manages is refused, not taken over.
  - What an Application of the set names in its annotation C(platform.audioprothese/takes-over) (patterns as in
    O(allow_delete), separated by commas) leaves the set when it is no longer declared, and is not deleted. The module
    lets go of it once Argo CD has marked it. Where no Application is left that an object is marked with, the object is
    taken back.
  - An Application is ready when it is synced and healthy as declared, at the declared commit if it names one.
requirements:
  - kubernetes >= 31
  - openshift >= 0.13.2
  - PyYAML
  - Kubernetes 1.30 or later
seealso:
  - module: audioprothese.platform.arm_resources
  - module: kubernetes.core.k8s
"""

EXAMPLES = r"""
- name: Converge what runs in the cluster
  audioprothese.platform.k8s_applyset:
    applyset: platform
    cluster: "{{ platform_ids.cluster }}"
    templates: [kubernetes/*.yml.j2]
    resources: "{{ estate.resources }}"

- name: Converge a chart as part of a set
  audioprothese.platform.k8s_applyset:
    applyset: openmrs
    kubeconfig: ~/.kube/config
    charts:
      - path: ../charts/openmrs
        release: openmrs
        namespace: openmrs
        values: "{{ openmrs_values }}"

- name: Remove a namespace and all that is in it
  audioprothese.platform.k8s_applyset:
    applyset: demo
    state: absent
    allow_delete: [Namespace/demo]
    documents:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: demo
"""

RETURN = r"""
resources:
  description:
    - Live objects after the run (before it, in check mode) by C(Kind/namespace/name). Values of Secrets are
      fingerprints; bookkeeping of the API server is left out.
  returned: always
  type: dict
  sample: {Deployment/openmrs/backend: {apiVersion: apps/v1, kind: Deployment}}
findings:
  description: Every place that is not as desired, sorted.
  returned: always
  type: list
  elements: dict
  sample:
    - source: kubernetes
      resource: Deployment/openmrs/backend
      type: apps/v1/Deployment
      path: spec.replicas
      verdict: drift
      action: update
      desired: 2
      live: 1
      origin: kubectl-edit (Update 2026-11-23T03:00:00Z)
      message: taken over from the field manager kubectl-edit
plan:
  description: What is done (in check mode, would be done), in order.
  returned: always
  type: list
  elements: dict
  sample:
    - action: update
      resource: Deployment/openmrs/backend
      type: apps/v1/Deployment
      changes: [{path: spec.replicas, desired: 2, live: 1}]
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
  sample: {connect: 0.1, read: 0.2, compare: 0.5, total: 0.8}
requests:
  description: Requests by verb; dry runs, retries and throttled answers apart; those to Azure under C(azure).
  returned: always
  type: dict
  sample: {GET: 2, LIST: 14, PATCH: 0, DELETE: 0, DRY_RUN: 61, DISCOVERY: 2, retries: 0, throttled: 0}
"""

import json
import pathlib
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.audioprothese.platform.plugins.module_utils.arm.args import auth_argument_spec, auth_options
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.face import exit_with
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.lease import open_lease
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.progress import Progress
from ansible_collections.audioprothese.platform.plugins.module_utils.kube import connection
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.client import KubeClient
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.lookup import Azure, Lookup
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.options import argument_spec
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.runner import Options, Runner


def main() -> t.NoReturn:
    spec = {**argument_spec(), **connection.auth_argument_spec(), **auth_argument_spec()}
    module = AnsibleModule(argument_spec=spec, supports_check_mode=True)
    module.no_log_values.update(connection.secrets_of(module.params["kubeconfig"]))
    exit_with(module, lambda: _converge(module), libraries="kubernetes and openshift")


def _converge(module: AnsibleModule) -> dict[str, t.Any]:
    params = module.params
    progress = Progress(params["_progress"])
    azure = Azure(lambda: _azure_client(params, progress, module._verbosity))
    documents, resources = _take_input(module)
    lookup = Lookup(azure, resources)
    runner = Runner(
        Options(
            applyset=params["applyset"],
            applyset_namespace=params["applyset_namespace"],
            check=module.check_mode,
            prune=params["prune"],
            allow_delete=tuple(params["allow_delete"]),
            allow_upgrade=tuple(params["allow_upgrade"]),
            allow_other_volumes=tuple(params["allow_other_volumes"]),
            take_over=tuple(params["take_over"]),
            force_conflicts=params["force_conflicts"],
            expect_plan=params["expect_plan"] or "",
            wait=params["wait"],
            wait_timeout=float(params["wait_timeout"]),
            timeout=float(params["timeout"]),
        ),
        connect=lambda: _cluster(params, azure, progress, module._verbosity),
        lookup=lookup,
        hold=lambda: open_lease(params, say=progress.say, connection=auth_options(params)),
        redactor=lookup.redactor(params["redaction_secret"]),
        progress=progress,
        other_requests=azure.requests,
    )
    return runner.present(documents) if params["state"] == "present" else runner.absent(documents)


def _take_input(module: AnsibleModule) -> tuple[list[t.Any], dict[str, t.Any]]:
    """Documents and resources, from the file the action plugin wrote if it could; never shown as parameters."""
    documents, resources = module.params["documents"], module.params["resources"]
    if module.params["_input"]:
        with pathlib.Path(module.params["_input"]).open(encoding="utf-8") as stream:
            given = json.load(stream)
        documents, resources = given["documents"], given["resources"]
    module.params["documents"], module.params["resources"] = f"{len(documents)} documents", {}
    return documents, resources


def _azure_client(params: dict[str, t.Any], progress: Progress, verbosity: int) -> t.Any:
    from ansible_collections.audioprothese.platform.plugins.module_utils.arm.client import connect  # noqa: PLC0415

    return connect(params, progress=progress, verbosity=verbosity, connections=params["parallel"])


def _cluster(params: dict[str, t.Any], azure: Azure, progress: Progress, verbosity: int) -> KubeClient | None:
    if not params["cluster"]:
        settings, hint = connection.configuration(params), ""
    else:
        found = connection.aks_configuration(azure(), params["cluster"])
        if found is None:
            return None
        settings, hint = found, connection.private_hint(found.host)
    return KubeClient(settings, threads=params["parallel"], hint=hint, progress=progress, verbosity=verbosity)


if __name__ == "__main__":
    main()
