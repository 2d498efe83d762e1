"""The stage train as a KFP component."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def train(
    config: str,
    prepared: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    plan: str = "",
) -> None:
    from pathlib import Path

    from trimtab.core.metadata import plain
    from trimtab.core.run_plan import asked_for, mark_left_out, seeded
    from trimtab.core.runs import stage_record
    from trimtab.train.stage import TrainConfig, train

    settings = seeded(TrainConfig.model_validate_json(config), plan)
    with stage_record("train", settings.name) as record:
        if not asked_for(plan, settings.name):
            mark_left_out(Path(model.path))
            record.result(figures={"left_out": "this run does not train it"})
            return
        result = train(settings, Path(prepared.path), Path(model.path))
        figures = {name: figure["value"] for name, figure in result.figures.items()}
        shown = {**figures, "steps": result.steps, "parameters": result.parameters}
        told = {**shown, "fit_seconds": result.seconds, **result.hardware}
        record.result(figures=told, artifacts={"model": result.digest})
    metrics.metadata.update(plain(shown))
    model.metadata.update(plain({"digest": result.digest, "candidate": settings.name, "record": record.prefix}))
