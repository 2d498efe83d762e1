"""The stage evaluate as a KFP component."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def evaluate(
    config: str,
    prepared: dsl.Input[dsl.Dataset],
    model: dsl.Input[dsl.Model],
    judge: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    classification: dsl.Output[dsl.ClassificationMetrics],
) -> None:
    from pathlib import Path

    from trimtab.core import settings
    from trimtab.core.metadata import plain
    from trimtab.core.run_plan import left_out, mark_left_out
    from trimtab.core.runs import stage_record
    from trimtab.core.store import open_store
    from trimtab.core.trained import folder_digest
    from trimtab.evaluate.stage import EvaluateConfig, evaluate

    asked = EvaluateConfig.model_validate_json(config)
    with stage_record("evaluate", asked.name) as record:
        env = settings.load()
        store = open_store(env.store, env)
        out = Path(evaluation.path)
        if left_out(Path(model.path)):
            mark_left_out(out)
            record.result(figures={"left_out": "this run does not train it"})
            return
        result = evaluate(asked, Path(prepared.path), Path(model.path), Path(judge.path), out, store)
        shown = {name: figure["value"] for name, figure in result.metrics.items()}
        digest = folder_digest(out)
        record.result(
            figures={**shown, "rows": result.rows, "judge": result.judge, "judge_metrics": result.judge_metrics},
            artifacts={"evaluation": digest},
        )
    judged = {f"judge_{n}": float(v) for n, v in (result.judge or {}).items() if isinstance(v, (int, float))}
    metrics.metadata.update(plain({**shown, **judged}))
    if result.roc and len(result.confusion) <= 50:  # more would not fit into metadata, nor on a screen
        import json

        names = json.loads((out / "evaluation.json").read_bytes())["classes"]
        classification.log_confusion_matrix(list(names), result.confusion)
        classification.log_roc_curve(result.roc["fpr"], result.roc["tpr"], result.roc["threshold"])
    evaluation.metadata.update(plain({"digest": digest, "candidate": asked.name, "record": record.prefix}))
