"""Deploy as a KFP component."""

from trimtab.core.kubeflow import stage_component


@stage_component
def deploy(config: str, version: str, passed: bool, release: str = "ask") -> int:
    from trimtab.core import settings
    from trimtab.core.run_end import finish_on_cluster
    from trimtab.core.runs import stage_record
    from trimtab.core.store import open_store
    from trimtab.deploy.release import effective
    from trimtab.deploy.stage import DeployConfig, deploy

    with stage_record("deploy") as record:
        env = settings.load()
        store = open_store(env.store, env)
        asked = effective(DeployConfig.model_validate_json(config), store, record.key, release)
        who = f"run {record.key}" if record.key else "deploy"
        result = deploy(asked, version, passed, store, who, record.key)
        record.result(figures={"requested": result.requested, "why": result.why})
    finish_on_cluster(store, record)
    return result.requested or 0
