"""Kubeflow's API over https: whose certificate is trusted, and certificates of clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.servers.kubeflow import StandIn
from tests.servers.kubernetes.certificates import Authority, Pair

from trimtab.core.errors import ProjectError
from trimtab.core.settings import KubeflowSettings
from trimtab.core.store.retry import Retry
from trimtab.pipelines.kubeflow_api import Kubeflow
from trimtab.pipelines.kubeflow_auth import Access, find_access
from trimtab.pipelines.kubeflow_http import KubeflowUnreachable, Limits

QUICK = Limits(connect_seconds=2.0, answer_seconds=2.0, retry=Retry(attempts=2, base=0.01, cap=0.02))


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "stranger")


@pytest.fixture
def server(authority: Authority) -> tuple[Path, Path]:
    made = authority.issue("server", "kubeflow", hosts=["localhost"])
    return made.certificate, made.key


@pytest.fixture
def strict(server: tuple[Path, Path], authority: Authority) -> Iterator[StandIn]:
    """An API that wants its clients' certificates."""
    with StandIn(tls=server, client_ca=authority.certificate) as standin:
        yield standin


def access(standin: StandIn, ca: Path | None, client: Pair | None = None) -> Access:
    settings = KubeflowSettings(endpoint=standin.url, ca_bundle=str(ca or ""))
    if client is not None:
        settings = settings._replace(client_cert=str(client.certificate), client_key=str(client.key))
    return find_access(settings)


def test_the_named_ca_is_trusted_and_no_other(
    server: tuple[Path, Path], authority: Authority, stranger: Authority
) -> None:
    with StandIn(tls=server) as standin:
        assert standin.url.startswith("https://")
        assert Kubeflow(access(standin, authority.certificate), QUICK).health().version == "2.17.0"
        for wrong in (stranger.certificate, None):
            with pytest.raises(KubeflowUnreachable, match=r"not trusted.*TRIMTAB_KUBEFLOW_CA"):
                Kubeflow(access(standin, wrong), QUICK).health()


def test_a_certificate_of_another_host_is_not_trusted(authority: Authority) -> None:
    other = authority.issue("other", "kubeflow", hosts=["kubeflow.example"])
    with (
        StandIn(tls=(other.certificate, other.key)) as standin,
        pytest.raises(KubeflowUnreachable, match="not trusted"),
    ):
        Kubeflow(access(standin, authority.certificate), QUICK).health()


def test_a_client_s_certificate_is_shown(strict: StandIn, authority: Authority) -> None:
    mine = authority.issue("ann", "ann")
    assert Kubeflow(access(strict, authority.certificate, mine), QUICK).health()


def test_a_client_without_the_certificate_that_is_wanted_is_told_so(strict: StandIn, authority: Authority) -> None:
    with pytest.raises(KubeflowUnreachable, match=r"wants a client certificate.*TRIMTAB_KUBEFLOW_CERT"):
        Kubeflow(access(strict, authority.certificate), QUICK).health()


def test_a_client_s_certificate_of_a_stranger_is_told_so(
    strict: StandIn, authority: Authority, stranger: Authority
) -> None:
    with pytest.raises(KubeflowUnreachable, match=r"does not take the client certificate.*TRIMTAB_KUBEFLOW_CERT"):
        Kubeflow(access(strict, authority.certificate, stranger.issue("eve", "eve")), QUICK).health()


def test_files_that_are_no_certificates_are_told_so(strict: StandIn, authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no certificate\n")
    with pytest.raises(ProjectError, match="TRIMTAB_KUBEFLOW_CA"):
        access(strict, tmp_path / "no.pem")
    nonsense = Pair(tmp_path / "no.pem", tmp_path / "no.pem")
    with pytest.raises(ProjectError, match="TRIMTAB_KUBEFLOW_CERT"):
        access(strict, authority.certificate, nonsense)
    swapped = Pair(authority.issue("ann", "ann").certificate, authority.issue("bob", "bob").key)
    with pytest.raises(ProjectError, match="TRIMTAB_KUBEFLOW_KEY"):
        access(strict, authority.certificate, swapped)
