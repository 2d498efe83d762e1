"""The first task of a run as a KFP component: claims the run, fixes its data, shows what is wanted."""

from typing import NamedTuple

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def define(
    config: str,
    definition: dsl.Output[dsl.HTML],
    key: str = "",
    data: str = "",
    reason: str = "",
    release: str = "ask",
) -> NamedTuple("Outputs", [("source", str), ("plan", str)]):  # type: ignore[valid-type]
    from pathlib import Path

    from trimtab.core import run_plan, settings
    from trimtab.core.runs import stage_record
    from trimtab.core.store import open_store
    from trimtab.define.claim import DefineConfig, claim_run
    from trimtab.define.stage import define

    env, baked = settings.load(), DefineConfig.model_validate_json(config)
    store = open_store(env.store, env)
    source = claim_run(baked, store, env.run_id, key=key, data=data, reason=reason, release=release)
    with stage_record("define") as record:
        result = define(baked.parsed())
        Path(definition.path).write_text(result.html, encoding="utf-8")
        record.result(figures={"statement": result.statement, "gates": list(result.gates)})
    return (source, run_plan.as_parameter(store, record.key, baked.seed, baked.candidates))
