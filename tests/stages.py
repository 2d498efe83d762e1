"""The stages from prepare to export in a row, as the stages' tests use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from tests.tables import save

from trimtab.core.blocks import Candidate, Gates
from trimtab.core.schema import Schema

Task = Literal["classification", "regression"]


@dataclass
class Line:
    """A folder in which one data set goes through the stages."""

    root: Path
    table: pa.Table
    schema: Schema
    judge: pa.Table | None = None
    against: str = ""
    exported: Any = None

    def __post_init__(self) -> None:
        self.task: Task = "classification" if self.schema.target.kind == "category" else "regression"
        self.metric = "accuracy" if self.task == "classification" else "mae"
        save(self.root / "data", self.table, self.schema)
        judged = self.table.slice(0, 0) if self.judge is None else self.judge
        save(self.root / "judge", judged, self.schema, against=self.against)

    def prepare(self, test_fraction: float = 0.2, folds: int = 3, seed: int = 0) -> Any:
        from trimtab.prepare.stage import PrepareConfig, prepare

        config = PrepareConfig(task=self.task, test_fraction=test_fraction, folds=folds, seed=seed)
        return prepare(config, self.root / "data", self.root / "judge", self.root / "prepared")

    def baseline(self) -> Any:
        from trimtab.baseline.stage import BaselineConfig, baseline

        config = BaselineConfig(task=self.task, metric=self.metric)
        return baseline(config, self.root / "prepared", self.root / "baseline")

    def train(self, name: str = "linear", uses: str = "", out: str = "", **params: Any) -> Any:
        from trimtab.train.stage import TrainConfig, train

        candidate = Candidate(name=name, kind="" if uses else name, uses=uses, params=params)
        config = TrainConfig(candidate=candidate, name=name, task=self.task, metric=self.metric)
        return train(config, self.root / "prepared", self.root / (out or name))

    def evaluate(self, name: str = "linear", champion: Path | None = None, store: Any = None) -> Any:
        from trimtab.evaluate.stage import EvaluateConfig, evaluate

        config = EvaluateConfig(name=name, task=self.task, metric=self.metric, model="model")
        folders = (self.root / "prepared", self.root / name, self.root / "judge", self.root / f"{name}-evaluation")
        return evaluate(config, *folders, store, champion)

    def select(self, *names: str, gates: Gates | None = None) -> Any:
        from trimtab.select.stage import SelectConfig, select

        names = names or ("linear",)
        return select(
            SelectConfig(task=self.task, metric=self.metric, gates=gates or Gates()),
            self.root / "prepared",
            self.root / "baseline",
            [self.root / n for n in names],
            [self.root / f"{n}-evaluation" for n in names],
            self.root / "winner",
            self.root / "selection.json",
        )

    def export(self, out: str = "bundle") -> Any:
        from trimtab.export.stage import ExportConfig, export

        config = ExportConfig(
            model="model", task=self.task, metric=self.metric, statement="Who leaves?", rows_per_day=50
        )
        folders = (self.root / "winner", self.root / "prepared", self.root / "selection.json", self.root / out)
        return export(config, *folders)

    def whole(self, name: str = "linear", **params: Any) -> Any:
        """All of them for one candidate; gives what export gave."""
        self.prepare()
        self.baseline()
        self.train(name, **params)
        self.evaluate(name)
        self.select(name)
        return self.export()
