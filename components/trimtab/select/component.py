"""The stage select as a KFP component: up to eight candidates, in slots, since KFP has no lists of artifacts here."""

from typing import NamedTuple, Optional

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def select(
    config: str,
    prepared: dsl.Input[dsl.Dataset],
    baseline: dsl.Input[dsl.Model],
    model_1: dsl.Input[dsl.Model],
    evaluation_1: dsl.Input[dsl.Artifact],
    model: dsl.Output[dsl.Model],
    selection: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
    model_2: Optional[dsl.Input[dsl.Model]] = None,
    evaluation_2: Optional[dsl.Input[dsl.Artifact]] = None,
    model_3: Optional[dsl.Input[dsl.Model]] = None,
    evaluation_3: Optional[dsl.Input[dsl.Artifact]] = None,
    model_4: Optional[dsl.Input[dsl.Model]] = None,
    evaluation_4: Optional[dsl.Input[dsl.Artifact]] = None,
    model_5: Optional[dsl.Input[dsl.Model]] = None,
    evaluation_5: Optional[dsl.Input[dsl.Artifact]] = None,
    model_6: Optional[dsl.Input[dsl.Model]] = None,
    evaluation_6: Optional[dsl.Input[dsl.Artifact]] = None,
    model_7: Optional[dsl.Input[dsl.Model]] = None,
    evaluation_7: Optional[dsl.Input[dsl.Artifact]] = None,
    model_8: Optional[dsl.Input[dsl.Model]] = None,
    evaluation_8: Optional[dsl.Input[dsl.Artifact]] = None,
) -> NamedTuple("Outputs", [("winner", str), ("passed", bool)]):  # type: ignore[valid-type]
    import json
    from pathlib import Path

    from trimtab.core.datasets import file_sha256
    from trimtab.core.metadata import plain
    from trimtab.core.run_plan import left_out
    from trimtab.core.runs import stage_record
    from trimtab.core.trained import folder_digest
    from trimtab.select.stage import SelectConfig, select

    models = [model_1, model_2, model_3, model_4, model_5, model_6, model_7, model_8]
    evaluations = [
        evaluation_1, evaluation_2, evaluation_3, evaluation_4, evaluation_5, evaluation_6, evaluation_7, evaluation_8
    ]  # fmt: skip
    with stage_record("select") as record:
        result = select(
            SelectConfig.model_validate_json(config),
            Path(prepared.path),
            Path(baseline.path),
            [Path(m.path) for m in models if m is not None and not left_out(Path(m.path))],
            [Path(e.path) for e in evaluations if e is not None and not left_out(Path(e.path))],
            Path(model.path),
            Path(selection.path),
        )
        shown = {name: figure["value"] for name, figure in result.metrics.items()}
        digest = folder_digest(Path(model.path))
        record.result(
            figures={
                **shown,
                "winner": result.winner,
                "why": result.why,
                "passed": result.passed,
                "gates": result.gates,
                "tested_on": result.tested_on,
                "rows": result.rows,
            },
            artifacts={"model": digest, "selection": file_sha256(Path(selection.path))},
        )
    metrics.metadata.update(plain(shown))
    if result.confusion and len(result.confusion) <= 50:
        names = json.loads(Path(selection.path).read_bytes())["evaluation"]["classes"]
        classification.log_confusion_matrix(list(names), result.confusion)
    model.metadata.update(plain({"digest": digest, "candidate": result.winner}))
    selection.metadata.update(plain({"winner": result.winner, "passed": result.passed, "record": record.prefix}))
    return (result.winner, result.passed)
