# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore into a volume of its own, as plain data: what is wanted, what is there, and what to do about it. Pure."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import enum
import json
import re
import typing as t
from collections.abc import Mapping, Sequence

from ansible_collections.audioprothese.platform.plugins.module_utils.converge.errors import GuardError, InputError
from ansible_collections.audioprothese.platform.plugins.module_utils.converge.findings import Finding
from ansible_collections.audioprothese.platform.plugins.module_utils.kube.volumes import RESTORE_TO, RESTORED
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.archive import SOURCE
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.errors import MariaDBError
from ansible_collections.audioprothese.platform.plugins.module_utils.mariadb.jobs import outcome_of

__all__ = [
    "TYPE",
    "VOLUME",
    "Found",
    "Wanted",
    "check_ranges",
    "claim_manifest",
    "default_volume",
    "job_manifest",
    "judge",
    "kept_report",
    "missing_finding",
    "moment_text",
    "parse_moment",
    "parse_volume",
    "resumable",
    "whole_finding",
]

TYPE: t.Final = "mariadb/restore"
VOLUME: t.Final = "restored"
"""Name of the volume of the Job that is the claim."""

_CLAIM_UID: t.Final = "platform.audioprothese/restore-claim"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?")
_FORM = "2026-11-20T14:03:00+01:00"
_KEPT = ("full", "logs", "gtid", "server_version", "tables", "rows", "seconds")

Object = Mapping[str, t.Any]


class Found(enum.Enum):
    """What a claim is."""

    NOTHING = "nothing"
    HALF = "half"
    """A restore into it never ended."""
    WHOLE = "whole"
    """It holds the moment, and was looked through."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to restore, and where.

    Attributes:
        moment: all transactions of before it, and no other.
        volume: name that the claim templates of the StatefulSet have to get for its pods to start on it.
        storage_class: of the disk.
        size: of the disk.
        labels: of the claim.
    """

    namespace: str
    statefulset: str
    primary: int
    moment: dt.datetime
    volume: str
    storage_class: str
    size: str
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def claim(self) -> str:
        """Name of the claim that the pod of the primary takes when its volume has this name."""
        return f"{self.volume}-{self.statefulset}-{self.primary}"

    @property
    def where(self) -> str:
        """The claim for people."""
        return f"PersistentVolumeClaim/{self.namespace}/{self.claim}"


def parse_moment(text: str, *, now: dt.datetime) -> dt.datetime:
    """A moment to restore, in UTC and whole seconds, which is what MariaDB notes of a transaction.

    Raises:
        InputError: it is none, could be several, or is not over yet.
    """
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError as exc:
        raise InputError(f"{text!r} is no moment", where="to", remedy=f"Write it as {_FORM}") from exc
    if moment.tzinfo is None:
        raise InputError(f"{text!r} has no offset from UTC", where="to", remedy=f"Write it as {_FORM}")
    if moment > now:
        what = f"{moment_text(moment)} is in the future, it is {moment_text(now)} now"
        raise InputError(what, where="to", remedy="Give a moment that is over")
    return moment.astimezone(dt.UTC).replace(microsecond=0)


def moment_text(moment: dt.datetime) -> str:
    """A moment for people, in UTC."""
    return moment.astimezone(dt.UTC).isoformat(timespec="seconds")


def default_volume(moment: dt.datetime) -> str:
    """A name that tells the moment: C(r20261120t130300z)."""
    return moment.astimezone(dt.UTC).strftime("r%Y%m%dt%H%M%Sz")


def parse_volume(name: str) -> str:
    """A name for a volume.

    Raises:
        InputError: Kubernetes takes no volume of that name.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} is no name for a volume",
            where="volume",
            remedy="Use up to 40 small letters, digits and hyphens, with a letter or digit at both ends",
        )
    return name


def judge(wanted: Wanted, claim: Object | None, *, in_use: bool) -> Found:
    """What the claim is, if it is there.

    Args:
        wanted: what to restore.
        claim: the live claim.
        in_use: the StatefulSet has this volume.

    Raises:
        GuardError: it is not ours to fill: it holds other data, or servers run on it.
    """
    if claim is None:
        if in_use:
            raise GuardError(
                f"the servers run on the volume {wanted.volume}", where=wanted.where, remedy="Give another volume"
            )
        return Found.NOTHING
    annotations = claim["metadata"].get("annotations") or {}
    other = "Give the restore another volume (restore_volume)"
    if RESTORE_TO not in annotations:
        raise GuardError("it is there and no restore made it", where=wanted.where, remedy=other)
    if RESTORED not in annotations:
        if in_use:
            raise GuardError("servers run on it though no restore into it ended", where=wanted.where, remedy=other)
        return Found.HALF
    if annotations[RESTORE_TO] != moment_text(wanted.moment):
        raise GuardError(f"it holds the data of {annotations[RESTORE_TO]}", where=wanted.where, remedy=other)
    return Found.WHOLE


def check_ranges(listed: Object, moment: dt.datetime, ranges: Sequence[str], *, where: str) -> None:
    """Refuse a moment that the archive does not reach.

    Args:
        listed: the answer of the program's C(list).
        moment: the moment.
        ranges: the same for people.
        where: name of the archive.

    Raises:
        MariaDBError: it is in no range.
    """
    spans = [
        (dt.datetime.fromisoformat(entry["from"]), dt.datetime.fromisoformat(entry["until"]))
        for entry in listed["ranges"]
        if entry["logs"]
    ]
    if any(begin <= moment <= end for begin, end in spans):
        return
    youngest = max((end for _begin, end in spans), default=None)
    wait = "The log of changes is stored every few minutes: wait for it" if youngest and moment > youngest else ""
    raise MariaDBError(
        f"{moment_text(moment)} is in no range that can be restored: {', '.join(ranges) or 'there is none yet'}",
        where=where,
        remedy=wait or "Give a moment of these",
    )


def claim_manifest(wanted: Wanted, report: Object | None = None) -> dict[str, t.Any]:
    """The claim: marked with its moment from the first on, and with what was found once it is whole."""
    annotations = {RESTORE_TO: moment_text(wanted.moment)}
    if report is not None:
        kept = {"moment": annotations[RESTORE_TO], **{key: report[key] for key in _KEPT}}
        annotations[RESTORED] = json.dumps(kept, sort_keys=True)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": wanted.claim,
            "namespace": wanted.namespace,
            "labels": dict(wanted.labels),
            "annotations": annotations,
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": wanted.storage_class,
            "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": wanted.size}},
        },
    }


def kept_report(claim: Object) -> dict[str, t.Any]:
    """What was found in a claim when it was found to be whole."""
    kept: dict[str, t.Any] = json.loads(claim["metadata"]["annotations"][RESTORED])
    return kept


def job_manifest(job: Object, wanted: Wanted, claim: Object) -> dict[str, t.Any]:
    """The Job that fills a claim.

    Args:
        job: as given: its container runs C(restore) and mounts a volume of the name VOLUME.
        wanted: what to restore.
        claim: the live claim.

    Raises:
        InputError: it is no such Job.
    """
    made: dict[str, t.Any] = copy.deepcopy(dict(job))
    try:
        pod = made["spec"]["template"]["spec"]
        [container] = pod["containers"]
        mounted = any(mount["name"] == VOLUME for mount in container["volumeMounts"])
        made["metadata"].setdefault("annotations", {}).update(_marks(wanted, claim))
    except (KeyError, TypeError, ValueError) as exc:
        raise InputError("job is no Job with one container", where="job", remedy="Give its manifest") from exc
    if not mounted:
        raise InputError(f"its container mounts no volume {VOLUME}", where="job", remedy="Mount one")
    container["args"] = [*container["args"], "--to", moment_text(wanted.moment)]
    others = [volume for volume in pod.get("volumes") or () if volume["name"] != VOLUME]
    pod["volumes"] = [{"name": VOLUME, "persistentVolumeClaim": {"claimName": wanted.claim}}, *others]
    return made


def resumable(job: Object, wanted: Wanted, claim: Object) -> bool:
    """Whether a Job that is there fills this very claim with this moment, and has not failed."""
    annotations = job["metadata"].get("annotations") or {}
    ours = all(annotations.get(key) == value for key, value in _marks(wanted, claim).items())
    return ours and not outcome_of(job)


def whole_finding(wanted: Wanted, report: Object, *, in_use: bool) -> Finding:
    """The one line: what is in the claim."""
    message = (
        f"the data of {moment_text(wanted.moment)} is in {wanted.claim}: {report['rows']} rows in "
        f"{report['tables']} tables, every table was read" + (", and the servers run on it" if in_use else "")
    )
    return Finding(
        source=SOURCE,
        resource=wanted.where,
        type=TYPE,
        verdict="equal",
        desired=moment_text(wanted.moment),
        live=moment_text(wanted.moment),
        message=message,
    )


def missing_finding(wanted: Wanted, found: Found) -> Finding:
    """What will be restored."""
    return Finding(
        source=SOURCE,
        resource=wanted.where,
        type=TYPE,
        verdict="missing",
        action="create",
        desired=moment_text(wanted.moment),
        message="it does not exist" if found is Found.NOTHING else "a restore into it never ended: it is made anew",
    )


def _marks(wanted: Wanted, claim: Object) -> dict[str, str]:
    return {RESTORE_TO: moment_text(wanted.moment), _CLAIM_UID: str(claim["metadata"]["uid"])}
