"""Copies of the collection with one thing broken, to see that the proofs notice it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.integration.support.lab import ROOT

PARTS = ("charts", "galaxy.yml", "meta", "playbooks", "plugins", "roles")
NEIGHBOURS = ("azure", "community", "kubernetes")
OWN = Path("ansible_collections") / "audioprothese" / "platform"


@dataclass(frozen=True)
class Break:
    """One change of one file: `old` becomes `new`; without `old`, `new` is added at the end."""

    file: str
    new: str
    old: str = ""


BREAKS = {
    "check mode is ignored": [
        Break("plugins/modules/arm_resources.py", old="check_mode=module.check_mode", new="check_mode=False"),
    ],
    "every ARM body is equal": [
        Break("plugins/module_utils/arm/compare.py", new="\n\ndef compare(*_args, **_options):\n    return []\n"),
    ],
    "every object is equal": [
        Break("plugins/module_utils/kube/compare.py", new="\n\ndef differences(*_args):\n    return []\n"),
    ],
    "immutable properties are not guarded": [
        Break("plugins/module_utils/arm/plan.py", new="\n\ndef _guard_immutable(verdicts):\n    return None\n"),
    ],
    "a key's version is compared": [
        Break(
            "plugins/module_utils/arm/compare.py",
            new="\n\ndef _with_versions_of(live, desired):\n    return desired\n",
        ),
    ],
    "what SOPS decrypted is shown": [
        Break(
            "plugins/vars/sops.py",
            old="return self._reader.get_vars(loader, path, entities, cache)",
            new="self._display.vvv(str(found := self._reader.get_vars(loader, path, entities, cache)))\n"
            "            return found",
        ),
    ],
    "SOPS files may hold clear text": [
        Break(
            "plugins/module_utils/preflight/sops.py",
            new="\n\ndef find_clear_values(_where, _document):\n    return []\n",
        ),
    ],
    "secrets are shown": [
        Break(
            "plugins/module_utils/converge/redaction.py",
            new="\n\nRedactor.redact = lambda self, obj: obj\nRedactor.fingerprint = lambda self, value: value\n",
        ),
    ],
}


def neighbours_into(folder: Path) -> None:
    """Make the collections that ours works beside available below a folder."""
    for name in NEIGHBOURS:
        target = folder / "ansible_collections" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(ROOT / ".ansible" / "collections" / "ansible_collections" / name)


def collection_with(breaks: list[Break], folder: Path) -> Path:
    """Copy the collection, break it, and return the folder to use as collections path."""
    target = folder / OWN
    target.mkdir(parents=True)
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target / part)
    neighbours_into(folder)
    for each in breaks:
        path = target / each.file
        text = path.read_text(encoding="utf-8")
        assert each.old in text, f"{each.file} has no {each.old!r} to break any more"
        path.write_text(text.replace(each.old, each.new) if each.old else text + each.new, encoding="utf-8")
    return folder
