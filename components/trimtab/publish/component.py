"""Publish as a KFP component; the signing key comes from the environment of the task."""

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def publish(
    config: str,
    bundle: dsl.Input[dsl.Model],
    selection: dsl.Input[dsl.Artifact],
    data: dsl.Input[dsl.Dataset],
    published: dsl.Output[dsl.Model],
) -> str:
    from pathlib import Path

    from trimtab.core import settings, signing
    from trimtab.core.metadata import plain
    from trimtab.core.run_end import note_cached_inputs
    from trimtab.core.runs import stage_record
    from trimtab.core.store import open_store
    from trimtab.publish.lineage import complete
    from trimtab.publish.stage import PublishConfig, publish

    with stage_record("publish") as record:
        env = settings.load()
        store = open_store(env.store, env)
        note_cached_inputs(store, record, [bundle.metadata, selection.metadata, data.metadata])
        full = complete(PublishConfig.model_validate_json(config), store, record.key, Path(data.path))
        result = publish(full, Path(bundle.path), Path(selection.path), store, signing.signing_key(env))
        prefix = f"models/{full.model}/versions/{result.version}"
        store.download(f"{prefix}/manifest.json", Path(published.path))
        record.result(figures={"version": result.version}, artifacts={"published": result.version})
    published.metadata.update(plain({"version": result.version, "stored_at": f"{store.url}/{prefix}"}))
    return result.version
