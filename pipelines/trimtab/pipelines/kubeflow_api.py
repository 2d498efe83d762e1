"""Kubeflow Pipelines' API (v2beta1) as far as we need it, with KFP's own models for what is sent and read.

The backend has no idempotency: names of runs are not unique and there is no request id. Whatever creates something
here may therefore be called only after a look, and says when it does not know whether it went through
(`KubeflowUnreachable`, 5xx); the caller looks again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from trimtab.pipelines.kubeflow_http import KubeflowError, KubeflowRefused, Limits, Transport
from trimtab.pipelines.kubeflow_models import BackendRun, Health, Recurring, Version, recurring_of, run_of, version_of

if TYPE_CHECKING:
    from trimtab.pipelines.kubeflow_auth import Access

API = "/apis/v2beta1"
OLDEST = (2, 0)
_PAGE = 100
_MOST_PAGES = 10_000  # a bound on what is no list any more


class Kubeflow:
    """One backend.

    Args:
        access: where it is and who asks.
        limits: time-outs and retries.
    """

    def __init__(self, access: Access, limits: Limits | None = None) -> None:
        self.access = access
        self._send = Transport(access, limits)

    # The API itself

    def health(self) -> Health:
        """Ask whether it is there and of which version.

        Raises:
            KubeflowError: it is absent, too old, refuses, or something else answers.
        """
        try:
            told = self._send.json("GET", f"{API}/healthz")
        except KubeflowRefused as error:
            if error.status != 404:
                raise
            raise KubeflowRefused(
                "there is no Kubeflow Pipelines API of version 2 there",
                object=self.access.host,
                expected=f"an answer under {API}/healthz",
                got="404",
                hint="Kubeflow Pipelines 2.0 or newer is needed; check the address's path, too",
            ) from None
        if not isinstance(told, dict):
            raise KubeflowError("what answers is not Kubeflow Pipelines' API", object=self.access.host)
        version = str(told.get("tag_name") or "unknown")
        numbers = tuple(int(p) for p in version.lstrip("v").split("-")[0].split(".")[:2] if p.isdigit())
        if len(numbers) == 2 and numbers < OLDEST:
            raise KubeflowRefused(
                "this Kubeflow Pipelines is too old", object=self.access.host, expected="2.0 or newer", got=version,
                hint="ask whoever runs it for an upgrade",
            )  # fmt: skip
        return Health(version, bool(told.get("multi_user", False)))

    # Experiments

    def ensure_experiment(self, name: str) -> str:
        """The id of the experiment of that name, made where there is none."""
        found = self._experiment(name)
        if found:
            return found
        body = _model("V2beta1Experiment", display_name=name, namespace=self.access.namespace or None)
        try:
            return str(self._send.json("POST", f"{API}/experiments", body=body)["experiment_id"])
        except KubeflowError:
            found = self._experiment(name)  # somebody else made it meanwhile, or ours went through after all
            if found:
                return found
            raise

    def _experiment(self, name: str) -> str:
        query = {"filter": _equals("display_name", name), "namespace": self.access.namespace}
        for item in self._pages("/experiments", "experiments", query):
            if item.get("display_name") == name and item.get("storage_state") != "ARCHIVED":
                return str(item["experiment_id"])
        return ""

    # Pipelines and their versions

    def pipeline(self, name: str) -> str:
        """The id of the pipeline of that name; empty where there is none."""
        for item in self._pages("/pipelines", "pipelines", {
            "filter": _equals("display_name", name), "namespace": self.access.namespace,
        }):  # fmt: skip
            if name in (item.get("display_name"), item.get("name")):
                return str(item["pipeline_id"])
        return ""

    def pipelines(self, shared: bool) -> list[str]:
        """Ids of one's own namespace's pipelines.

        Args:
            shared: with those of no namespace: all are where Kubeflow has one user, and else they are everybody's.
        """
        own = {self.access.namespace, ""} if shared else {self.access.namespace} - {""}
        found = self._pages("/pipelines", "pipelines", {"namespace": self.access.namespace})
        return [str(item["pipeline_id"]) for item in found if (item.get("namespace") or "") in own]

    def versions(self, pipeline_id: str) -> list[Version]:
        """A pipeline's versions, newest first; none where the backend has no such pipeline."""
        path, query = f"/pipelines/{pipeline_id}/versions", {"sort_by": "created_at desc"}
        try:
            return [version_of(item) for item in self._pages(path, "pipeline_versions", query)]
        except KubeflowRefused as error:
            if error.status in (400, 404):
                return []
            raise

    def delete_version(self, version: Version) -> None:
        """Delete a version; nothing happens where it is gone. The backend does so to one that is in use, too."""
        self._quietly("DELETE", f"/pipelines/{version.pipeline_id}/versions/{version.id}")

    def ensure_version(
        self, pipeline: str, version: str, package: bytes, description: str = "", tags: Mapping[str, str] | None = None
    ) -> tuple[str, str]:
        """Upload a package as a version of a pipeline, unless one of that name is there.

        Args:
            pipeline: the pipeline's name; made where there is none.
            version: the version's name; the same name means the same content.
            package: the YAML, both documents, checked before: a broken one keeps a real backend busy for ever.
            description: for people.
            tags: kept with the version.

        Returns:
            Ids of pipeline and version.
        """
        pipeline_id = self.pipeline(pipeline) or self._new_pipeline(pipeline, description)
        found = self._version(pipeline_id, version)
        if found:
            return pipeline_id, found
        query = {
            "pipelineid": pipeline_id,
            "name": version,
            "description": description,
            "tags": json.dumps(dict(tags)) if tags else "",
        }
        try:
            made = self._send.json(
                "POST", f"{API}/pipelines/upload_version", query=query, file=(f"{pipeline}.yaml", package)
            )
            return pipeline_id, str(made["pipeline_version_id"])
        except KubeflowError:
            found = self._version(pipeline_id, version)  # a rival was first (409), or ours went through unheard
            if found:
                return pipeline_id, found
            raise

    def version_exists(self, pipeline_id: str, version_id: str) -> bool:
        """Whether the backend still has a version."""
        # Asked by the list: a single unknown version is a 500, like a fault.
        return bool(pipeline_id and version_id) and any(v.id == version_id for v in self.versions(pipeline_id))

    def _version(self, pipeline_id: str, name: str) -> str:
        return next((v.id for v in self.versions(pipeline_id) if v.name == name), "")

    def _new_pipeline(self, name: str, description: str) -> str:
        body = _model(
            "V2beta1Pipeline",
            name=name,
            display_name=name,
            description=description or None,
            namespace=self.access.namespace or None,
        )
        try:
            return str(self._send.json("POST", f"{API}/pipelines", body=body)["pipeline_id"])
        except KubeflowError:
            found = self.pipeline(name)
            if found:
                return found
            raise

    # Runs

    def create_run(
        self,
        name: str,
        experiment_id: str,
        pipeline_id: str,
        version_id: str,
        parameters: Mapping[str, Any],
        *,
        description: str = "",
        service_account: str = "",
        spec: Mapping[str, Any] | None = None,
    ) -> BackendRun:
        """Start a run. There is no telling two of them apart by name: look first.

        Args:
            name: for people, and to find it by.
            experiment_id: the experiment's id.
            pipeline_id: what to run.
            version_id: which version of it.
            parameters: by name.
            description: for people.
            service_account: of its pods; empty for the installation's default.
            spec: a spec of the run's own in place of the version, as kfp.Client sends a package.

        Raises:
            KubeflowError: it may have been started all the same when no answer came.
        """
        body = _model(
            "V2beta1Run",
            display_name=name,
            experiment_id=experiment_id,
            description=description or None,
            service_account=service_account or None,
            # The API takes one of the two.
            pipeline_version_reference=None if spec else _reference(pipeline_id, version_id),
            pipeline_spec=spec,
            runtime_config=_runtime(parameters),
        )
        return run_of(self._send.json("POST", f"{API}/runs", query={"experiment_id": experiment_id}, body=body))

    def run(self, run_id: str) -> BackendRun:
        """A run with its tasks."""
        return run_of(self._send.json("GET", f"{API}/runs/{run_id}"))

    def runs(self, name: str = "") -> Iterator[BackendRun]:
        """Runs, newest first, by display name where one is given."""
        query = {
            "filter": _equals("display_name", name) if name else "",
            "namespace": self.access.namespace,
            "sort_by": "created_at desc",
        }
        for item in self._pages("/runs", "runs", query):
            found = run_of(item)
            if not name or found.name == name:
                yield found

    def terminate(self, run_id: str) -> None:
        """End a run (the backend then says FAILED); nothing happens where it has ended."""
        try:
            self._send.json("POST", f"{API}/runs/{run_id}:terminate", repeatable=True)
        except KubeflowError as error:
            if error.status == 0 or not self.run(run_id).ended:
                raise

    def delete_run(self, run_id: str) -> None:
        """Delete a run's record; nothing happens where it is gone."""
        self._quietly("DELETE", f"/runs/{run_id}")

    def node_log(self, run_id: str, node: str) -> str:
        """What a pod of a run wrote, as far as it is kept; empty where the backend knows of none."""
        try:
            raw = self._send.raw(f"/apis/v1alpha1/runs/{run_id}/nodes/{node}/log")
        except KubeflowError:
            return ""
        text = raw.decode(errors="replace")
        return "" if _is_error(text) else text

    # Schedules

    def create_recurring(
        self,
        name: str,
        experiment_id: str,
        pipeline_id: str,
        version_id: str,
        parameters: Mapping[str, Any],
        *,
        cron: str = "",
        every_seconds: int = 0,
        description: str = "",
        service_account: str = "",
    ) -> Recurring:
        """Start a pipeline version again and again."""
        import kfp_server_api as api

        trigger = api.V2beta1Trigger(
            cron_schedule=api.V2beta1CronSchedule(cron=cron) if cron else None,
            periodic_schedule=api.V2beta1PeriodicSchedule(interval_second=str(every_seconds))
            if every_seconds
            else None,
        )
        body = _model(
            "V2beta1RecurringRun",
            display_name=name,
            experiment_id=experiment_id,
            description=description or None,
            service_account=service_account or None,
            pipeline_version_reference=_reference(pipeline_id, version_id),
            runtime_config=_runtime(parameters),
            trigger=trigger,
            mode=api.RecurringRunMode.ENABLE,
            max_concurrency="1",
            no_catchup=True,
        )
        return recurring_of(self._send.json("POST", f"{API}/recurringruns", body=body))

    def recurring(self, name: str = "") -> list[Recurring]:
        """Schedules, by name where one is given."""
        query = {"namespace": self.access.namespace, "filter": _equals("display_name", name) if name else ""}
        found = [recurring_of(item) for item in self._pages("/recurringruns", "recurringRuns", query)]
        return [r for r in found if not name or r.name == name]

    def delete_recurring(self, recurring_id: str) -> None:
        """Delete a schedule; nothing happens where it is gone."""
        self._quietly("DELETE", f"/recurringruns/{recurring_id}")

    def _quietly(self, method: str, path: str) -> None:
        try:
            self._send.json(method, f"{API}{path}")
        except KubeflowRefused as error:
            if error.status != 404:
                raise

    def _pages(self, path: str, key: str, query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        token = ""
        for _ in range(_MOST_PAGES):
            told = self._send.json("GET", f"{API}{path}", query={**query, "page_size": _PAGE, "page_token": token})
            if not isinstance(told, dict):
                raise KubeflowError("the API's list is none", object=f"{self.access.host}{API}{path}")
            yield from (item for item in told.get(key) or [] if isinstance(item, dict))
            token = str(told.get("next_page_token") or "")
            if not token:
                return
        raise KubeflowError("the API's list has no end", object=f"{self.access.host}{API}{path}")


def _model(kind: str, /, **fields: Any) -> Any:
    """A request's body through KFP's own model, which checks names and values."""
    import kfp_server_api as api

    made = getattr(api, kind)(**{k: v for k, v in fields.items() if v is not None})
    return api.ApiClient().sanitize_for_serialization(made)


def _reference(pipeline_id: str, version_id: str) -> Any:
    import kfp_server_api as api

    return api.V2beta1PipelineVersionReference(pipeline_id=pipeline_id, pipeline_version_id=version_id)


def _runtime(parameters: Mapping[str, Any]) -> Any:
    import kfp_server_api as api

    return api.V2beta1RuntimeConfig(parameters=dict(parameters))


def _is_error(text: str) -> bool:
    """Whether a log is the JSON error that an unknown node is answered with, under status 200."""
    if not text.lstrip().startswith("{") or "\n" in text.strip():
        return False
    try:
        told = json.loads(text)
    except ValueError:
        return False
    return isinstance(told, dict) and bool({"error", "error_message", "code"} & set(told))


def _equals(key: str, value: str) -> str:
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})
