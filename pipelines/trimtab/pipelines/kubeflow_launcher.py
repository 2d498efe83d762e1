"""Starting a campaign's retrains on Kubeflow: runs of the champion's own pipeline version, found again by run key.

Nothing is remembered in the process: what was started stands in the store and in the backend, so a launcher that
was restarted, or a second one by mistake, finds the same runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trimtab.core import runs
from trimtab.core.errors import DuplicateRun, NotFound, RunError, RunTimeout
from trimtab.core.launch import LauncherAway, RetrainRequest, State
from trimtab.pipelines.kubeflow_follow import Pace, cancel, passing
from trimtab.pipelines.kubeflow_http import KubeflowError
from trimtab.pipelines.kubeflow_patience import Patience
from trimtab.pipelines.kubeflow_records import conclude, forgotten, last_started, lost_or, owner, started
from trimtab.pipelines.kubeflow_submit import start
from trimtab.pipelines.kubeflow_upload import Uploaded, package_of, upload
from trimtab.pipelines.retrains import retrain_request

if TYPE_CHECKING:
    from trimtab.core.runs import RunRequest
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_cluster import Cluster
    from trimtab.pipelines.kubeflow_models import BackendRun


USUAL = Pace()


class KubeflowLauncher:
    """`core.launch.Launcher` by runs of a Kubeflow backend.

    Args:
        kubeflow: the backend.
        store: the store that the stages use.
        image: the stages' image for a champion that was trained on no cluster, pinned.
        experiment: the experiment's name.
        service_account: of the runs' pods; empty for the installation's default.
        s3_ca: the ConfigMap with the CA of the store's S3, for such a champion; see `compile_project`.
        cancel_seconds: how long the end of a cancelled run is waited for.
        cluster: asked what keeps a run's pods from going on; None asks nobody.
        pace: how often, and how long a trouble may last before the run is given up.
    """

    def __init__(
        self,
        kubeflow: Kubeflow,
        store: Store,
        *,
        image: str = "",
        experiment: str = "",
        service_account: str = "",
        s3_ca: str = "",
        cancel_seconds: float = 20.0,
        cluster: Cluster | None = None,
        pace: Pace = USUAL,
    ) -> None:
        self.kubeflow = kubeflow
        self._store = store
        self._image = image
        self._experiment = experiment
        self._service_account = service_account
        self._s3_ca = s3_ca
        self._cancel_seconds = cancel_seconds
        self._cluster = cluster
        self._pace = pace
        self._waiting: dict[str, Patience] = {}  # by the backend's id; lost with the process, and begun anew

    def start(self, request: RetrainRequest) -> str:
        """See `Launcher.start`."""
        base = self._base(request)
        key = runs.open_run(self._store, retrain_request(self._store, request, base))
        if runs.result(self._store, key) is not None or self._refused_before(key):
            return key
        try:
            uploaded = self._version(request.base_key, base)
            start(
                self.kubeflow,
                self._store,
                key,
                runs.read_request(self._store, key),
                uploaded,
                experiment=self._experiment,
                service_account=self._service_account,
            )
        except KubeflowError as error:
            if passing(error):
                raise LauncherAway(error.sentence(), object=key) from None
            raise
        return key

    def state(self, key: str) -> State:
        """See `Launcher.state`."""
        if runs.result(self._store, key) is not None:
            return "succeeded"
        last, unclaimed = self._known(key)
        if last is not None and last.state and not unclaimed:
            return _state(last.state)
        try:
            run = self._run(key, last, unclaimed)
            if run is None:
                return self._forgotten(key)
            if not run.ended:
                return "failed" if self._given_up(key, run.id) else "running"
        except KubeflowError:
            return "running"  # nobody can be asked now: that says nothing about the run
        return _state(conclude(self._store, key, run))

    def cancel(self, key: str) -> None:
        """See `Launcher.cancel`."""
        last, unclaimed = self._known(key)
        said = last is not None and bool(last.state)
        if runs.result(self._store, key) is not None or (said and not unclaimed):
            return
        try:
            run = self._run(key, last, unclaimed)
            if run is not None:
                cancel(self.kubeflow, self._store, key, run.id, "the hook", self._cancel_seconds)
        except RunTimeout:
            return  # it was told, and ends when its pods do
        except KubeflowError as error:
            raise LauncherAway(error.sentence(), object=key) from None

    def _given_up(self, key: str, run_id: str) -> bool:
        """Whether the run was ended because of its pods: the backend would show it as RUNNING until its time limit.

        Raises:
            KubeflowError: it could not be ended now.
        """
        if self._cluster is None:
            return False
        for gone in [r for r in self._waiting if r != run_id and self._waiting[r].object == key]:
            del self._waiting[gone]
        patience = self._waiting.setdefault(
            run_id, Patience(self._cluster, key, self._pace.trouble_seconds, self._pace.patience_seconds)
        )
        error = patience.look(run_id)
        if error is None:
            return False
        self.kubeflow.terminate(run_id)
        del self._waiting[run_id]
        try:
            n = runs.claim(self._store, key, run_id)  # most such runs never got as far as claiming their key
        except DuplicateRun:
            return False  # another run is at work on it: that one counts
        runs.end(self._store, key, n, "failed", {**error.facts(), "stuck": True})
        return True

    def _base(self, request: RetrainRequest) -> RunRequest:
        try:
            return runs.read_request(self._store, request.base_key)
        except NotFound:
            raise RunError(
                f"the champion's run {request.base_key} left no request, so it cannot be run on other data",
                object=request.base_key,
                hint="run the project once more: trimtab submit FILE",
            ) from None

    def _refused_before(self, key: str) -> bool:
        """Whether an attempt ended in a way that the same request would end again: by a stage's error, or told to."""
        last = runs.newest(self._store, key)
        if last is None or not last.state:
            return False
        return last.state == "cancelled" or bool(runs.errors(self._store, key))

    def _version(self, base_key: str, base: RunRequest) -> Uploaded:
        """The pipeline version that the champion ran as; made from its request where the backend has lost it."""
        from trimtab.core.project import Project

        known = last_started(self._store, base_key)
        if known is not None and self.kubeflow.version_exists(known.pipeline_id, known.version_id):
            return Uploaded(
                known.pipeline_id, known.version_id, known.version, known.service_account, known.run_seconds
            )
        project = Project.from_canonical(base.project)
        image = base.image if base.image and "unset" not in base.image else self._image
        return upload(
            self.kubeflow,
            package_of(
                project,
                image=image,
                store_url=self._store.url,
                s3_ca=self._s3_ca,
                code_version=base.code_version,
            ),
            project.task.statement,
        )

    def _run(self, key: str, last: runs.Attempt | None, unclaimed: list[str]) -> BackendRun | None:
        """The backend's run for a key: its owner at work, else the newest that was started for it."""
        if last is not None and (not last.state or not unclaimed):
            return lost_or(self.kubeflow, last.run_id)
        if unclaimed:
            return lost_or(self.kubeflow, unclaimed[-1])
        return next(iter(self.kubeflow.runs(name=key)), None)

    def _known(self, key: str) -> tuple[runs.Attempt | None, list[str]]:
        """The newest attempt, and the backend's runs that were started for a key and claimed none, oldest first.

        Of one look at the attempts: a run that claims between two looks would be in neither.
        """
        found = runs.attempts(self._store, key)
        claimed = {a.run_id for a in found}
        return found[-1] if found else None, [s.run_id for s in started(self._store, key) if s.run_id not in claimed]

    def _forgotten(self, key: str) -> State:
        """The backend knows nothing of a run: it was deleted there, or never started."""
        last = owner(self._store, key)
        if last is not None and not last.ended:
            forgotten(self._store, key, last)
        return "succeeded" if runs.result(self._store, key) is not None else "failed"


def _state(state: str) -> State:
    return "succeeded" if state == "succeeded" else "cancelled" if state == "cancelled" else "failed"
