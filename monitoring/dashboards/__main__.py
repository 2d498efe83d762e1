"""`python -m dashboards`: write the dashboards' JSON; `--check` only tells whether it is up to date."""

from __future__ import annotations

import json
import sys

from dashboards import campaigns, drift, overview, pipelines, serving
from dashboards.names import FOLDER

BUILDERS = (overview.build, drift.build, serving.build, campaigns.build, pipelines.build)


def written() -> dict[str, str]:
    """File name → text of each dashboard."""
    built = (build() for build in BUILDERS)
    return {f"{one['uid']}.json": json.dumps(one, indent=1, sort_keys=True, ensure_ascii=False) + "\n" for one in built}


def main(arguments: list[str]) -> int:
    """Write or check; 1 where `--check` finds a difference."""
    texts = written()
    if "--check" in arguments:
        there = {p.name: p.read_text() for p in FOLDER.glob("*.json")}
        if there != texts:
            sys.stderr.write("the dashboards' JSON is not what the code makes: python -m dashboards\n")
            return 1
        return 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in texts.items():
        (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
