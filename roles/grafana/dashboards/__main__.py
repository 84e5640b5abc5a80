# Copyright (c) 2026, AudioProthese+ platform team
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the dashboards into `files/dashboards`, from which the role takes them (`make dashboards`)."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from roles.grafana.dashboards import dashboards

FOLDER = Path(__file__).resolve().parents[1] / "files" / "dashboards"


def written(dashboard: Dashboard) -> str:
    """Return the text of a file."""
    return json.dumps(dashboard, cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them, and remove what none of them is."""
    texts = {FOLDER / f"{name}.json": written(dashboard) for name, dashboard in dashboards().items()}
    FOLDER.mkdir(parents=True, exist_ok=True)
    for stale in set(FOLDER.glob("*.json")) - set(texts):
        stale.unlink()
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
