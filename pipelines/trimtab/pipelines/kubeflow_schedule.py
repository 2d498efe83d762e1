"""Schedules: a pipeline version that the backend starts again and again; each run makes a key of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from trimtab.core.errors import ProjectError
from trimtab.core.records import canonical
from trimtab.core.sources import normalise
from trimtab.pipelines.compile_check import check_arguments
from trimtab.pipelines.kubeflow_submit import EXPERIMENT
from trimtab.pipelines.kubeflow_upload import package_of, portable_source, upload

if TYPE_CHECKING:
    from trimtab.core.project import Project
    from trimtab.core.store import Store
    from trimtab.pipelines.kubeflow_api import Kubeflow
    from trimtab.pipelines.kubeflow_models import Recurring

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_LONGEST = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}  # days of the months that have fewer than 31
_PART = re.compile(r"(?:([*?])|([A-Za-z0-9]+)(?:-([A-Za-z0-9]+))?)(?:/([0-9]+))?")
_CRON_HINT = 'second, minute, hour, day of month, month, day of week: "0 30 2 * * *" is half past two each day'


def seconds_of(text: str) -> int:
    """A stretch of time such as `6h` in seconds.

    Raises:
        ProjectError: it is none, or under a minute.

    >>> seconds_of("6h"), seconds_of("90m")
    (21600, 5400)
    """
    found = re.fullmatch(r"([0-9]{1,9})\s*([smhd])", text.strip())
    seconds = int(found[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[found[2]] if found else 0
    if seconds < 60:
        raise ProjectError("option --every", expected="at least a minute, such as 30m, 6h or 1d", got=text)
    return seconds


def cron_of(text: str) -> str:
    """A cron expression, checked as Kubeflow's scheduler reads it (robfig/cron 1), fields one blank apart.

    That scheduler takes five fields too, and reads the first as seconds: what crontab calls each day at two would be
    each hour, two minutes past it. Its short forms (`@daily`) are not taken.

    Raises:
        ProjectError: the fields are not six, one cannot be read, no day has that date, or it would start several runs
            a minute.

    >>> cron_of("0  */15 8-17 * jan-jun,dec MON")
    '0 */15 8-17 * jan-jun,dec MON'
    """
    fields = text.split()
    if len(fields) != 6:
        fifth = f"--cron '0 {' '.join(fields)}', or another second first" if len(fields) == 5 else _CRON_HINT
        raise ProjectError(
            "option --cron", expected="six fields, seconds first", got=f"{len(fields)}: {text!r}", hint=fifth
        )
    seconds = _values("second", fields[0], 0, 59)
    _values("minute", fields[1], 0, 59)
    _values("hour", fields[2], 0, 23)
    dates = _values("day of month", fields[3], 1, 31)
    months = _values("month", fields[4], 1, 12, _MONTHS)
    _values("day of week", fields[5], 0, 6, _DAYS)
    if len(seconds) > 1:
        raise ProjectError(
            "option --cron", object="second", expected="one number: at most a run a minute", got=repr(fields[0]),
            hint=_CRON_HINT,
        )  # fmt: skip
    # Where a day of the week is named as well, either of the two will do.
    if fields[5][0] in "*?" and min(dates) > max(_LONGEST.get(month, 31) for month in months):
        raise ProjectError("option --cron", expected="a date that some year has", got=f"{fields[3]} {fields[4]}")
    return " ".join(fields)


def _values(what: str, field: str, low: int, high: int, names: Sequence[str] = ()) -> set[int]:
    """What one field stands for."""
    found: set[int] = set()
    for part in field.split(","):
        try:
            found.update(_part(part, low, high, names))
        except ValueError:
            named = f", {names[0]}-{names[-1]}" if names else ""
            raise ProjectError(
                "option --cron", object=what, got=repr(part), hint=_CRON_HINT,
                expected=f"{low}-{high}{named}, *, or lists, ranges and steps of them (1,3  2-5  */10)",
            ) from None  # fmt: skip
    return found


def _part(text: str, low: int, high: int, names: Sequence[str]) -> range:
    """What one entry of a field's list stands for; ValueError where it is none."""
    read = _PART.fullmatch(text)
    if read is None:
        raise ValueError
    star, first, last, step = read.groups()
    start = low if star else _number(first, low, names)
    # A step counts on to the end, also from a single number.
    end = _number(last, low, names) if last else high if star or step else start
    if not low <= start <= end <= high:
        raise ValueError
    return range(start, end + 1, int(step or 1))


def _number(text: str, low: int, names: Sequence[str]) -> int:
    return low + names.index(text.lower()) if text.lower() in names else int(text)


def schedule(
    kubeflow: Kubeflow,
    store: Store,
    project: Project,
    *,
    image: str,
    cron: str = "",
    every_seconds: int = 0,
    data: Any = None,
    reason: str = "",
    release: Literal["ask", "hold"] = "ask",
    name: str = "",
    experiment: str = "",
    service_account: str = "",
    s3_ca: str = "",
) -> Recurring:
    """Have a project's pipeline version started again and again.

    The same schedule (name, version, times, parameters, account) is found, not made twice; others of that name are
    replaced.

    Args:
        kubeflow: the backend.
        store: the store that the stages use.
        project: the project file.
        image: the stages' image, pinned.
        cron: when, as `cron_of` takes it.
        every_seconds: or how often.
        data: a source in place of the file's own, which each run reads afresh.
        reason: why, in words.
        release: `ask` for a rollout of what passes, or `hold`.
        name: the schedule's name; by default the project's.
        experiment: the experiment's name, made where there is none.
        service_account: of the runs' pods; empty for the project's own.
        s3_ca: the ConfigMap with the CA of the store's S3; see `compile_project`.

    Raises:
        RunRefused: there is no image, or the backend refuses.
        ProjectError: project, image, data or times are wrong, or a parameter is too large.
        KubeflowError: the backend cannot be reached or fails.
    """
    cron = cron_of(cron) if cron else ""
    when = f"cron {cron}" if cron else f"every {every_seconds} s"
    package = package_of(project, image=image, store_url=store.url, s3_ca=s3_ca)
    kubeflow.health()
    name = name or project.name
    source = portable_source(project, store, data) if data is not None or _local(project) else None
    parameters = {
        "data": "" if source is None else canonical(source).decode(),
        "key": "",
        "reason": reason or f"schedule {name}, {when}",
        "release": release,
    }
    check_arguments(package.content, parameters)
    uploaded = upload(kubeflow, package, project.task.statement)
    account = service_account or uploaded.service_account
    known = [r for r in kubeflow.recurring(name) if r.pipeline_id == uploaded.pipeline_id]
    wanted = (uploaded.version_id, when, True, parameters, account)
    same = (r for r in known if (r.version_id, r.when, r.enabled, r.parameters, r.service_account) == wanted)
    made = next(same, None) or kubeflow.create_recurring(
        name,
        kubeflow.ensure_experiment(experiment or EXPERIMENT),
        uploaded.pipeline_id,
        uploaded.version_id,
        parameters,
        cron=cron,
        every_seconds=every_seconds,
        description=reason,
        service_account=account,
    )
    for other in known:  # not before there is one in their place
        if other.id != made.id:
            kubeflow.delete_recurring(other.id)
    return made


def _local(project: Project) -> bool:
    return any("path" in part for part in normalise(project.data.source))
