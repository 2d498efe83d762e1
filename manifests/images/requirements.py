"""What an image installs beside our own wheel: `requirements.py IMAGE pyproject.toml`."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

EXTRAS = {
    "server": ("serving",),
    "monitor": ("monitoring", "pipelines", "kubernetes"),
    "stage": ("train", "pipelines"),
    "torch": (),
}


def lines(image: str, project: dict[str, object]) -> list[str]:
    """The packages, held to the pinned versions of a constraints.txt beside the list."""
    facts = project["project"]
    assert isinstance(facts, dict)
    extras = facts["optional-dependencies"]
    if image == "torch":
        wanted = [line for line in extras["train"] if line.startswith("torch>")]
    else:
        wanted = [*facts["dependencies"], *(line for extra in EXTRAS[image] for line in extras[extra])]
    return [*sorted({*wanted}), "-c constraints.txt"]


if __name__ == "__main__":
    image, project = sys.argv[1:]
    print(*lines(image, tomllib.loads(Path(project).read_text())), sep="\n")
