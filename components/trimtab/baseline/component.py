"""The stage baseline as a KFP component."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def baseline(
    config: str, prepared: dsl.Input[dsl.Dataset], baseline: dsl.Output[dsl.Model], metrics: dsl.Output[dsl.Metrics]
) -> None:
    from pathlib import Path

    from trimtab.baseline.stage import BaselineConfig
    from trimtab.baseline.stage import baseline as score
    from trimtab.core.metadata import plain
    from trimtab.core.runs import stage_record

    with stage_record("baseline") as record:
        result = score(BaselineConfig.model_validate_json(config), Path(prepared.path), Path(baseline.path))
        shown = {name: figure["value"] for name, figure in result.metrics.items()}
        record.result(figures={"name": result.name, **shown}, artifacts={"baseline": result.digest})
    metrics.metadata.update(plain(shown))
    baseline.metadata.update(plain({"digest": result.digest, "name": result.name, "record": record.prefix}))
