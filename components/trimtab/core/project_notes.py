"""What a right project file rules out, and whether what it names is there."""

from __future__ import annotations

from trimtab.core import yamltext
from trimtab.core.errors import DataError
from trimtab.core.project import Mistake, Project
from trimtab.core.sources import table_files


def places(project: Project, text: str) -> list[Mistake]:
    """Files that the project names and that are not there, as mistakes.

    Args:
        project: from `text`.
        text: the file's text, for the lines.
    """
    document = yamltext.parse(text)
    found = []
    for source in project.data.source:
        if "path" in source:
            try:
                table_files(source["path"], project.base)
            except DataError as error:
                line = document.line(("data", "source"))
                found.append(Mistake(line, "data.source", error.sentence()))
    for name, candidate in project.candidates.items():
        if candidate.wheel and not (project.base / candidate.wheel).is_file():
            path = ("candidates", name, "wheel")
            found.append(Mistake(document.line(path), ".".join(path), f"there is no file {candidate.wheel!r}"))
    return found


def notes(project: Project) -> list[str]:
    """What a person should know about choices that are right but have a price."""
    found = []
    private = [f.name for f in project.schema().features if f.private]
    if private:
        found.append(
            f"private features ({', '.join(private)}) never reach the prediction log: campaigns cannot retrain on "
            "it and windows cannot see their drift"
        )
    key = project.schema().id_field
    if key is None:
        found.append("no field of kind id: labels can come back by prediction id alone")
    elif key.private:
        found.append(f"the id field {key.name!r} is private: labels can come back by prediction id alone")
    if not project.gates.beats_baseline:
        found.append("gates.beats_baseline is false: a model worse than guessing can be published")
    return found
