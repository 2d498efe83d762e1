"""`make servers`: instant when the servers are there, a sentence when it cannot be built."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.servers import fixtures, install


@pytest.fixture(autouse=True)
def no_s3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIMTAB_TEST_S3", raising=False)


def go(folder: Path, script: str) -> Path:
    """A `go` that does what the script says."""
    folder.mkdir()
    (folder / "go").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "go").chmod(0o755)
    return folder


def with_path(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, folders), "/usr/bin", "/bin"]))


def test_it_builds_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    with_path(
        monkeypatch,
        go(tmp_path / "bin", f'echo "$@" >> {calls}; echo "#!/bin/sh" > $GOBIN/minio; chmod +x $GOBIN/minio'),
    )
    for _ in range(3):
        assert install.minio(tmp_path / "servers") == 0
    assert calls.read_text() == f"install {install.MINIO}\n"
    assert sorted(p.name for p in (tmp_path / "servers").iterdir()) == ["minio", "minio.version"]
    (tmp_path / "servers" / "minio.version").write_text("an older one\n")
    assert install.minio(tmp_path / "servers") == 0
    assert len(calls.read_text().splitlines()) == 2


def test_without_go_it_names_the_way_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert install.minio(tmp_path / "servers") == 2
    assert "TRIMTAB_TEST_S3=s3://bucket/prefix" in capsys.readouterr().err
    monkeypatch.setenv("TRIMTAB_TEST_S3", "s3://bucket/prefix")
    assert install.minio(tmp_path / "servers") == 0


def test_a_failed_build_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_path(monkeypatch, go(tmp_path / "bin", "exit 7"))
    assert install.minio(tmp_path / "servers") == 1
    assert "exit 7" in capsys.readouterr().err
    assert list((tmp_path / "servers").iterdir()) == []


def test_tests_without_s3_never_skip_silently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fixtures, "BINARY", Path("/nonexistent"))
    assert "make servers" in fixtures.described()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="make servers"):
        fixtures.without()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="make servers"):
        fixtures.without()
