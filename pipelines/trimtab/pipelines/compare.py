"""A big window against a version's reference as a Kubeflow graph.

1. count     for each shard of the window's Parquet files, in parallel: counts over the reference's cells
2. compare   adds the counts up, exactly, and tests them: what moved, how far, how sure

The shards' number is baked in; model, version and the window's place are parameters.
"""

# No `from __future__ import annotations` here: KFP reads the functions' annotations as types.
from typing import Any, List  # noqa: UP035 - KFP reads List, not list, of artifacts

from kfp import dsl

from trimtab.core.kubeflow import stage_component


@stage_component
def count(
    model: str,
    version: str,
    shard: int,
    shards: int,
    window: dsl.Input[dsl.Dataset],
    counts: dsl.Output[dsl.Dataset],
) -> None:
    """Count one shard of a window."""
    from pathlib import Path

    from trimtab.monitoring.shards import of_version

    Path(counts.path).write_bytes(of_version(model, version, Path(window.path), int(shard), int(shards)))


@stage_component
def compare(
    model: str,
    version: str,
    counts: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    comparison: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Add the shards' counts up and test them."""
    import json
    from pathlib import Path

    from trimtab.monitoring.shards import compared_with_version

    facts = compared_with_version(model, version, [Path(c.path).read_bytes() for c in counts])
    Path(comparison.path).write_text(json.dumps(facts, sort_keys=True))
    metrics.log_metric("p", facts["p"])
    metrics.log_metric("rows", facts["rows"])


def build(shards: int, image: str = "") -> Any:
    """The graph.

    Args:
        shards: tasks that the counting is split into.
        image: container image of the tasks, one with the extra `monitoring`; empty leaves it open.
    """
    about = "A window of any length against a version's reference."

    @dsl.pipeline(name="trimtab-compare", description=about)  # type: ignore[untyped-decorator]
    def graph(model: str, version: str, window: str) -> dsl.Dataset:
        held = dsl.importer(artifact_uri=window, artifact_class=dsl.Dataset, reimport=True)
        with dsl.ParallelFor(items=list(range(shards)), parallelism=2) as shard:
            counted = count(model=model, version=version, shard=shard, shards=shards, window=held.output)
            counted.set_caching_options(False)
            if image:
                counted.set_container_image(image)
        done = compare(model=model, version=version, counts=dsl.Collected(counted.outputs["counts"]))
        done.set_caching_options(False)
        if image:
            done.set_container_image(image)
        return done.outputs["comparison"]

    return graph
