"""The client of Kubeflow's API against the stand-in: what it sends, and every way in which the API fails."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.kubeflow import Fault, StandIn

from trimtab.core.errors import ProjectError
from trimtab.core.settings import KubeflowSettings
from trimtab.core.store.retry import Retry
from trimtab.pipelines.kubeflow_api import Kubeflow
from trimtab.pipelines.kubeflow_auth import Access, find_access
from trimtab.pipelines.kubeflow_http import KubeflowError, KubeflowRefused, KubeflowUnreachable, Limits

QUICK = Limits(connect_seconds=1.0, answer_seconds=0.4, retry=Retry(attempts=3, base=0.01, cap=0.02))
PACKAGE = b"""
pipelineInfo: {name: tiny}
schemaVersion: 2.1.0
components:
  comp-say: {executorLabel: exec-say, inputDefinitions: {parameters: {word: {parameterType: STRING}}}}
deploymentSpec: {executors: {exec-say: {container: {image: "x@sha256:0", command: [echo], args: []}}}}
root:
  inputDefinitions: {parameters: {word: {parameterType: STRING, defaultValue: hello, isOptional: true}}}
  dag:
    tasks:
      say:
        componentRef: {name: comp-say}
        inputs: {parameters: {word: {componentInputParameter: word}}}
        taskInfo: {name: say}
"""


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


def client(standin: StandIn, **access: object) -> Kubeflow:
    return Kubeflow(dataclasses.replace(Access(standin.url), **access), QUICK)  # type: ignore[arg-type]


def test_the_same_content_is_one_version_and_names_are_found_again(standin: StandIn) -> None:
    kubeflow = client(standin)
    assert kubeflow.ensure_experiment("trimtab") == kubeflow.ensure_experiment("trimtab")
    first = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    assert kubeflow.ensure_version("tiny", "tiny-1", PACKAGE) == first
    second = kubeflow.ensure_version("tiny", "tiny-2", PACKAGE)
    assert second[0] == first[0]
    assert second[1] != first[1]
    assert sum("upload_version" in r for r in standin.requests) == 2


def test_two_uploads_at_once_end_in_one_version(standin: StandIn) -> None:
    kubeflow = client(standin)
    pipeline, version = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    # As a rival would see it that looked before: the list is empty, the upload says 409.
    real, looks = kubeflow.versions, iter([True])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubeflow, "versions", lambda i: [] if next(looks, False) else real(i))
        assert kubeflow.ensure_version("tiny", "tiny-1", PACKAGE) == (pipeline, version)
    assert sum("upload_version" in r for r in standin.requests) == 2


def test_an_upload_whose_answer_is_lost_is_found(standin: StandIn) -> None:
    standin.faults.add(Fault("POST .*/upload_version", "lost"))
    _, version = client(standin).ensure_version("tiny", "tiny-1", PACKAGE)
    assert version in standin.backend.versions


def test_a_run_has_no_state_then_runs_then_ends(standin: StandIn) -> None:
    kubeflow = client(standin)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    made = kubeflow.create_run("abc", kubeflow.ensure_experiment("e"), *ids, {"word": "x"})
    assert made.state == "PENDING"
    standin.backend.wait(made.id)
    ended = kubeflow.run(made.id)
    assert (ended.state, ended.ended, ended.error) == ("SUCCEEDED", True, "")
    assert [r.id for r in kubeflow.runs("abc")] == [made.id]
    assert list(kubeflow.runs("other")) == []


@pytest.mark.parametrize(
    ("parameters", "kind", "word"),
    [({"nosuch": "x"}, KubeflowRefused, "nosuch"), ({"word": "x" * 2_100_000}, KubeflowError, "500")],
)
def test_parameters_that_the_backend_does_not_take(
    standin: StandIn, parameters: dict[str, str], kind: type[Exception], word: str
) -> None:
    kubeflow = client(standin)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    with pytest.raises(kind, match=word):
        kubeflow.create_run("abc", kubeflow.ensure_experiment("e"), *ids, parameters)


def test_an_unknown_version_is_a_500_for_a_run_and_plain_for_us(standin: StandIn) -> None:
    kubeflow = client(standin)
    pipeline, _ = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    with pytest.raises(KubeflowError, match="500"):
        kubeflow.create_run("abc", kubeflow.ensure_experiment("e"), pipeline, "nosuch", {})
    assert not kubeflow.version_exists(pipeline, "nosuch")
    assert not kubeflow.version_exists("nosuch", "nosuch")


@pytest.mark.parametrize(
    ("status", "kind", "word"),
    [
        (400, KubeflowRefused, "does not take the request"),
        (401, KubeflowRefused, "audience pipelines.kubeflow.org"),
        (403, KubeflowRefused, "--namespace"),
        (404, KubeflowRefused, "no such thing"),
        (409, KubeflowRefused, "one of that name"),
        (500, KubeflowError, "the API failed"),
    ],
)
@pytest.mark.parametrize("how", ["answer", "empty"])
def test_each_refusal_says_what_and_what_next(
    standin: StandIn, status: int, kind: type[KubeflowError], word: str, how: str
) -> None:
    standin.faults.add(Fault("GET .*/runs/x", how, status, "the backend's words", times=-1))  # type: ignore[arg-type]
    with pytest.raises(kind, match=word) as raised:
        client(standin).run("x")
    assert raised.value.status == status
    assert ("the backend's words" if how == "answer" else "no words") in str(raised.value)
    assert raised.value.exit_code == (2 if status < 500 else 1)


@pytest.mark.parametrize("how", ["hang", "trickle", "break", "reset"])
def test_an_answer_that_does_not_come_is_asked_for_again_and_then_given_up(standin: StandIn, how: str) -> None:
    kubeflow = client(standin)
    standin.faults.add(Fault("GET .*/healthz", how, times=1))  # type: ignore[arg-type]
    assert kubeflow.health().version == "2.17.0"
    standin.faults.add(Fault("GET .*/healthz", how, times=-1))  # type: ignore[arg-type]
    began = time.monotonic()
    with pytest.raises(KubeflowUnreachable, match=standin.url):
        kubeflow.health()
    assert time.monotonic() - began < 10


def test_a_creation_is_never_sent_twice(standin: StandIn) -> None:
    kubeflow = client(standin)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    experiment = kubeflow.ensure_experiment("e")
    standin.faults.add(Fault("POST .*/runs", "lost", times=-1))
    with pytest.raises(KubeflowUnreachable):
        kubeflow.create_run("abc", experiment, *ids, {})
    assert len(standin.backend.runs) == 1


def test_a_broken_yaml_never_answers_and_is_given_up(standin: StandIn) -> None:
    with pytest.raises(KubeflowUnreachable, match="in time"):
        client(standin).ensure_version("tiny", "tiny-1", b"a: [1,\nb: {")


@pytest.mark.parametrize(("how", "word"), [("page", "not Kubeflow"), ("redirect", "login")])
def test_a_login_page_is_told_as_one(standin: StandIn, how: str, word: str) -> None:
    standin.faults.add(Fault("GET .*/healthz", how))  # type: ignore[arg-type]
    with pytest.raises(KubeflowError, match=word):
        client(standin).health()


def test_an_absent_api_says_how_to_reach_one() -> None:
    with pytest.raises(KubeflowUnreachable, match="port-forward"):
        Kubeflow(Access("http://localhost:1"), QUICK).health()
    with pytest.raises(KubeflowUnreachable, match="no host of that name"):
        Kubeflow(Access("http://nosuch.invalid"), QUICK).health()


def test_an_old_api_is_refused_by_its_version(standin: StandIn) -> None:
    standin.backend.version = "1.8.5"
    with pytest.raises(KubeflowRefused, match="too old"):
        client(standin).health()
    standin.backend.version = "unknown"
    assert client(standin).health().version == "unknown"
    standin.faults.add(Fault("GET .*/healthz", "answer", 404, "Not Found"))
    with pytest.raises(KubeflowRefused, match="version 2"):
        client(standin).health()


def test_a_token_is_read_anew_and_stands_in_no_repr(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    with StandIn(require={"Authorization": "Bearer second"}) as standin:
        kubeflow = client(standin, token_file=str(token))
        with pytest.raises(KubeflowRefused, match="401"):
            kubeflow.health()
        token.write_text("second\n")
        assert kubeflow.health()
        assert "second" not in repr(kubeflow.access)


def test_headers_come_from_files_and_variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    (tmp_path / "headers").write_text("X-One: 1\n")
    monkeypatch.setenv("MY_HEADER", "two")
    with StandIn(require={"X-One": "1", "X-Two": "two", "X-Three": "s3cret", "kubeflow-userid": "ann@x"}) as standin:
        access = find_access(
            KubeflowSettings(endpoint=standin.url, header_file=str(tmp_path / "headers")),
            headers=["X-Two=env:MY_HEADER", f"X-Three=@{tmp_path}/secret", "kubeflow-userid=ann@x"],
            home=tmp_path,
        )
        assert Kubeflow(access, QUICK).health()
        assert "s3cret" not in repr(access)


UNSENDABLE = ["s3cret\nsecond line", "s3cret\x00", "s3cr\u00e9t", ""]


@pytest.mark.parametrize("value", UNSENDABLE)
def test_what_no_header_can_carry_is_refused_by_its_file_and_not_shown(tmp_path: Path, value: str) -> None:
    file = tmp_path / "token"
    file.write_text(value)
    for access in (Access("http://x", token_file=str(file)), Access("http://x", headers=(("X-A", f"@{file}"),))):
        with pytest.raises(ProjectError, match="printable ASCII") as raised:
            access.current()
        assert raised.value.exit_code == 2
        assert raised.value.object == str(file)
        assert "s3cr" not in raised.value.sentence()


def test_a_variable_that_no_header_can_carry_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_HEADER", "s3cret\nX-Evil: 1")
    with pytest.raises(ProjectError, match="MY_HEADER") as raised:
        Access("http://x", headers=(("X-A", "env:MY_HEADER"),)).current()
    assert "s3cret" not in raised.value.sentence()


@pytest.mark.parametrize("host", ["http://ann:s3cret@kf.example", "ann:s3cret@kf.example:8888"])
def test_a_url_with_a_password_is_refused_and_not_shown(tmp_path: Path, host: str) -> None:
    with pytest.raises(ProjectError, match="--host") as raised:
        find_access(KubeflowSettings(), host=host, home=tmp_path)
    assert raised.value.exit_code == 2
    assert "s3cret" not in raised.value.sentence()


def test_the_host_is_found_as_kfp_s_client_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**settings: object) -> Access:
        return find_access(KubeflowSettings(**settings), home=tmp_path)  # type: ignore[arg-type]

    assert found(endpoint="localhost:8888/").host == "http://localhost:8888"
    assert found(endpoint="https://kf.example/pipeline").run_url("r") == (
        "https://kf.example/pipeline/#/runs/details/r"
    )
    assert found(kubernetes=True).host == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(ProjectError, match="port-forward"):
        found()
    with pytest.raises(ProjectError, match="URL"):
        found(endpoint="ftp://x")
    (tmp_path / ".config/kfp").mkdir(parents=True)
    (tmp_path / ".config/kfp/context.json").write_text('{"namespace": "ann"}')
    assert found(endpoint="x").namespace == "ann"


def test_several_users_need_a_namespace() -> None:
    with StandIn(multi_user=True) as standin:
        assert client(standin).health().multi_user
        with pytest.raises(KubeflowRefused, match="namespace"):
            client(standin).ensure_experiment("e")
        kubeflow = client(standin, namespace="ann")
        assert kubeflow.ensure_experiment("e") == kubeflow.ensure_experiment("e")


def test_pages_are_followed(standin: StandIn) -> None:
    kubeflow = client(standin)
    for n in range(3):
        kubeflow.ensure_version("tiny", f"tiny-{n}", PACKAGE)
    standin.requests.clear()
    from trimtab.pipelines import kubeflow_api

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kubeflow_api, "_PAGE", 2)
        assert len(kubeflow.versions(kubeflow.pipeline("tiny"))) == 3
    assert sum("/versions" in r for r in standin.requests) == 2


def test_termination_ends_in_failed_and_may_be_asked_for_twice(standin: StandIn) -> None:
    from tests.servers.kubeflow import Scripted

    standin.backend.executor = Scripted(hold={"say"})
    standin.backend.cancel_seconds = 0.1
    kubeflow = client(standin)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    made = kubeflow.create_run("abc", kubeflow.ensure_experiment("e"), *ids, {})
    kubeflow.terminate(made.id)
    standin.backend.pending_reads = 0
    standin.backend.runs[made.id].hidden_reads = 0
    assert kubeflow.run(made.id).state == "CANCELING"
    standin.backend.wait(made.id)
    assert kubeflow.run(made.id).state == "FAILED"
    kubeflow.terminate(made.id)


def test_the_log_of_an_unknown_node_is_none(standin: StandIn) -> None:
    from tests.servers.kubeflow import Scripted

    standin.backend.executor = Scripted(fail={"say": "ValueError: no\n"})
    kubeflow = client(standin)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    made = kubeflow.create_run("abc", kubeflow.ensure_experiment("e"), *ids, {})
    standin.backend.wait(made.id)
    failed = [t for t in kubeflow.run(made.id).tasks if t.state == "FAILED"]
    assert kubeflow.node_log(made.id, failed[0].pods[0]) == "ValueError: no\n"
    assert kubeflow.node_log(made.id, "nosuch") == ""


def test_schedules_are_made_listed_and_deleted(standin: StandIn) -> None:
    kubeflow = client(standin)
    ids = kubeflow.ensure_version("tiny", "tiny-1", PACKAGE)
    made = kubeflow.create_recurring("nightly", kubeflow.ensure_experiment("e"), *ids, {}, cron="0 0 2 * * *")
    assert [(r.id, r.when, r.enabled) for r in kubeflow.recurring("nightly")] == [(made.id, "cron 0 0 2 * * *", True)]
    kubeflow.delete_recurring(made.id)
    kubeflow.delete_recurring(made.id)
    assert kubeflow.recurring() == []
