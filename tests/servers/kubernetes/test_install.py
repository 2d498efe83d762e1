"""`make servers` on Kubernetes: instant when it is there, a sentence when it cannot be built."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.servers.fixtures import without
from tests.servers.kubernetes import archive, crds, fixtures, install


@pytest.fixture(autouse=True)
def ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_TEST_KUBECONFIG", raising=False)


def test_what_is_there_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "missing_packages", list)
    (tmp_path / "version").write_text(install.stamp())
    monkeypatch.setenv("PATH", "")
    assert install.install(tmp_path) == 0
    assert [p.name for p in tmp_path.iterdir()] == ["version"]


def test_without_go_it_names_the_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.install(tmp_path / "kubernetes") == 2
    assert "TRIMTAB_TEST_KUBECONFIG" in capsys.readouterr().err
    monkeypatch.setenv("TRIMTAB_TEST_KUBECONFIG", "/some/kubeconfig")
    assert install.install(tmp_path / "kubernetes") == 0
    assert not (tmp_path / "kubernetes").exists()


def test_kubectl_alone_is_left_alone_or_asks_for_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.install_kubectl(tmp_path / "kubernetes") == 2
    assert "kubectl is built with it" in capsys.readouterr().err
    (tmp_path / "kubernetes" / "bin").mkdir(parents=True)
    (tmp_path / "kubernetes" / "bin" / "kubectl").touch()
    assert install.install_kubectl(tmp_path / "kubernetes") == 0


def test_without_root_the_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "version").write_text(install.stamp())
    monkeypatch.setattr(install, "missing_packages", lambda: ["containerd", "runc"])
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert install.install(tmp_path) == 0
    assert "sudo apt-get install -y --no-install-recommends containerd runc" in capsys.readouterr().out


def test_versions_are_pinned_once() -> None:
    text = (install.HERE / "go.mod").read_text()
    assert install.version() in text
    # Each staging module at the version that belongs to that release.
    staged = set(re.findall(r"^\s*k8s\.io/\S+ => k8s\.io/\S+ (v\S+)$", text, re.MULTILINE))
    assert staged == {install.version().replace("v1.", "v0.", 1)}
    assert all(re.search(r"@v\d+\.\d+\.\d+$", module) for module in crds.SOURCES)


def test_tests_without_it_never_skip_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixtures, "BIN", Path("/nonexistent"))
    assert "make servers" in fixtures.described()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="make servers"):
        without(fixtures.lacking())


def test_an_archive_names_its_images(tmp_path: Path) -> None:
    made = archive.write(tmp_path / "a.tar", "trimtab.test/a:1", {"/a": Path(__file__)}, ["/a"])
    assert archive.names(made) == ["trimtab.test/a:1"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]
