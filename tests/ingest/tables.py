"""Small tables for ingest and validate, and one call that runs both."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trimtab.core.schema import Field, Schema, Target
from trimtab.core.store import Store, open_store
from trimtab.ingest.stage import IngestConfig, IngestResult, ingest
from trimtab.validate.stage import ValidateConfig, ValidateResult, validate

PEOPLE = Schema(
    fields=(
        Field(name="age", kind="number", nullable=True),
        Field(name="income", kind="number"),
        Field(name="city", kind="category", nullable=True),
        Field(name="person", kind="id"),
    ),
    target=Target(name="churn", kind="category"),
)
HEADER = ("age", "income", "city", "person", "churn")


def people(rows: int = 60, seed: int = 0) -> list[list[Any]]:
    """Rows that can be learned from."""
    random = np.random.default_rng(seed)
    return [
        [
            int(random.integers(18, 90)),
            round(float(random.normal(3000, 500)), 2),
            ("Berlin", "Oslo", "Rome")[int(random.integers(3))],
            f"p{row:04d}",
            ("no", "yes")[row % 2],
        ]
        for row in range(rows)
    ]


def write_csv(path: Path, rows: Iterable[Sequence[Any]], header: Sequence[str] = HEADER, delimiter: str = ",") -> Path:
    """Write a CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@dataclass
class Place:
    """A folder with a store, in which sources are read."""

    folder: Path

    @property
    def store(self) -> Store:
        return open_store((self.folder / "store").as_uri())

    def keys(self) -> list[str]:
        return list(self.store.list(""))

    def ingest(self, source: Any, schema: Schema = PEOPLE, name: str = "people") -> IngestResult:
        config = IngestConfig.model_validate({"name": name, "source": source, "schema": schema})
        return ingest(config, self.store, self.folder / "data", self.folder / "judge")

    def validate(self, schema: Schema = PEOPLE) -> ValidateResult:
        task = "classification" if schema.target.kind == "category" else "regression"
        config = ValidateConfig.model_validate({"schema": schema, "task": task})
        places = (self.folder / n for n in ("data", "judge", "checked", "checked_judge", "report.html"))
        return validate(config, *places)

    def both(self, source: Any, schema: Schema = PEOPLE) -> tuple[IngestResult, ValidateResult]:
        return self.ingest(source, schema), self.validate(schema)
