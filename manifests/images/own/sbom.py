"""The image's bill of materials (CycloneDX): its Python packages, as listed by cyclonedx-py, and Debian's packages."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from urllib.parse import quote

STATUS = Path("/var/lib/dpkg/status")


def debian(status: str) -> list[dict[str, str]]:
    """The installed packages of dpkg's status file, as CycloneDX components."""
    found = []
    for block in status.split("\n\n"):
        facts = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(" "))
        if not facts.get("Status", "").endswith(" installed"):
            continue
        name, version = facts["Package"], facts["Version"]
        purl = f"pkg:deb/debian/{quote(name)}@{quote(version, safe='')}?arch={facts['Architecture']}"
        found.append({"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl})
    return found


def main(image: str, python: Path, out: Path) -> None:
    """Write the bill of one image."""
    bill = json.loads(python.read_text())
    if STATUS.exists():
        bill["components"] += debian(STATUS.read_text())
    own = next(part for part in bill["components"] if part["name"] == "trimtab")
    bill.setdefault("metadata", {})["component"] = {
        "type": "container",
        "bom-ref": f"trimtab-{image}",
        "name": f"trimtab-{image}",
        "version": own["version"],
    }
    out.write_text(json.dumps(bill, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
