"""An error reads as sentences."""

from __future__ import annotations

from trimtab.core.errors import DataError


def test_a_question_ends_as_one() -> None:
    assert str(DataError("no such file", hint="did you mean 'a.csv'?")) == "no such file. Did you mean 'a.csv'?"
    assert str(DataError("no such file", hint="did you mean 'a.csv'")) == "no such file. Did you mean 'a.csv'?"
    again = DataError(str(DataError("no such file", hint="did you mean 'a.csv'?")))
    assert str(again) == "no such file. Did you mean 'a.csv'?", "as a record gives it back"


def test_a_command_is_written_as_it_is_typed() -> None:
    assert str(DataError("no such run", hint="trimtab runs lists them")) == "no such run. trimtab runs lists them."
    for command in (
        "kubectl -n kubeflow get pods",
        "make images REGISTRY=r",
        "pip install x",
        "docker pull x",
        "git lfs",
    ):
        assert str(DataError("no", hint=command)) == f"no. {command}."
    for prose in ("make the bucket first", "export it first", "gitignore it", "make it, or name another"):
        assert str(DataError("no", hint=prose)).startswith(f"no. {prose[0].upper()}")
    assert str(DataError("no such run", hint="list them")) == "no such run. List them."


def test_a_foreign_library_s_full_stop_is_not_doubled() -> None:
    said = "Either the file is corrupted or this is not a parquet file."
    assert str(DataError("it cannot be read", got=said)) == f"it cannot be read: got {said}"
    assert str(DataError("it cannot be read", got=said, hint="save it anew.")) == (
        f"it cannot be read: got {said} Save it anew."
    )
