"""The version in the shadow: asked beside the others, never answering, shed first; refused before it could."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tests.serving.bundles import NUMBERS, SCHEMAS, Place, running
from tests.serving.raw import Raw, post

from trimtab.core import bundle, predictions, rollouts, signing
from trimtab.core.schema import Schema
from trimtab.serving.metrics import Metrics
from trimtab.serving.model import LoadedModel, load_model
from trimtab.serving.shadow import QUEUE_ROWS, Shadow, adapt

NAME = "trimtab_server_shadow_rows_total"
PREDICT = post("/v1/models/digits:predict", {"instances": [[[1.0] * 8] * 8]})


@dataclass
class Load:
    in_flight: int = 0
    shed: int = 0


def loaded(place: Place, name: str, kind: str, seed: int = 0) -> LoadedModel:
    version = place.publish(name, kind, seed)
    folder = place.root / f"fetched-{name}-{seed}"
    trusted = signing.trusted_keys(place.settings.trusted_keys)
    return load_model(folder, bundle.fetch_bundle(place.store, name, version, folder, trusted))


def shadow_of(model: LoadedModel, load: Load | None = None) -> tuple[Shadow, Metrics]:
    metrics = Metrics("m")
    shadow = Shadow(metrics, load or Load())
    shadow._thread = shadow  # type: ignore[assignment]  # the test takes the steps itself
    shadow.model = model
    return shadow, metrics


def counts(metrics: Metrics, model: LoadedModel) -> dict[str, int]:
    found = {o: int(metrics.value(NAME, model.version, o)) for o in ("agreed", "differed", "failed", "shed")}
    return {outcome: n for outcome, n in found.items() if n}


def offer(shadow: Shadow, model: LoadedModel, rows: int, seed: int = 7) -> None:
    image = np.random.default_rng(seed).uniform(0, 16, (rows, 8, 8)).astype(np.float32)
    tensors = {"image": image}
    shadow.offer(model, tensors, model.labels(model.run(tensors)))


def test_rows_that_agree_and_differ_are_counted_as_both_versions_say(place: Place) -> None:
    champion, other = loaded(place, "digits", "digits", 0), loaded(place, "digits", "digits", 1)
    twin = loaded(place, "twin", "digits", 0)
    image = np.random.default_rng(7).uniform(0, 16, (40, 8, 8)).astype(np.float32)
    answered = [champion.labels(champion.run({"image": image})), other.labels(other.run({"image": image}))]
    agreed = sum(a == b for a, b in zip(*answered, strict=True))
    assert 0 < agreed < 40
    for candidate, expected in ((twin, {"agreed": 40}), (other, {"agreed": agreed, "differed": 40 - agreed})):
        shadow, metrics = shadow_of(candidate)
        offer(shadow, champion, 40)
        shadow.step()
        assert counts(metrics, candidate) == expected


def test_numbers_agree_within_a_part_of_themselves(place: Place) -> None:
    model = loaded(place, "demand", "numbers")
    twin = loaded(place, "twin", "numbers")
    shadow, metrics = shadow_of(twin)
    rows = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    said = model.run({"input": rows})[:, 0]
    shadow.offer(model, {"input": rows}, [float(said[0]), float(said[1]) * 1.005, float(said[2]) * 1.02])
    shadow.step()
    assert counts(metrics, twin) == {"agreed": 2, "differed": 1}


def test_a_full_queue_and_a_busy_server_shed(place: Place) -> None:
    champion, other = loaded(place, "digits", "digits", 0), loaded(place, "digits", "digits", 1)
    load = Load()
    shadow, metrics = shadow_of(other, load)
    for _ in range(QUEUE_ROWS // 100 + 2):
        offer(shadow, champion, 100)
    waiting = QUEUE_ROWS // 100 * 100
    assert counts(metrics, other) == {"shed": 200}
    load.shed = 3  # a request was refused since the last look
    shadow.step()
    assert counts(metrics, other) == {"shed": 200 + waiting}
    offer(shadow, champion, 10)
    shadow.step()
    assert sum(counts(metrics, other).values()) == 210 + waiting
    other.row_seconds, load.in_flight = 0.02, 2  # a slow one, and others wait for a processor
    offer(shadow, champion, 10)
    shadow.step()
    assert counts(metrics, other)["shed"] == 210 + waiting


def test_a_version_that_left_the_shadow_is_asked_no_more(place: Place) -> None:
    champion, other = loaded(place, "digits", "digits", 0), loaded(place, "digits", "digits", 1)
    shadow, metrics = shadow_of(other)
    offer(shadow, champion, 10)
    shadow.model = None
    shadow.step()
    assert counts(metrics, other) == {}
    assert not shadow._queue
    offer(shadow, champion, 10)
    assert not shadow._queue


def test_rows_that_it_cannot_answer_are_failures(place: Place) -> None:
    digits, demand = loaded(place, "digits", "digits"), loaded(place, "demand", "numbers")
    shadow, metrics = shadow_of(demand)
    offer(shadow, digits, 5)
    shadow.step()
    assert counts(metrics, demand) == {"failed": 5}
    twin = loaded(place, "twin", "numbers", 0)
    shadow, metrics = shadow_of(twin)
    rows = np.full((3, 4), np.inf, np.float32)
    rows[0] = 0.0
    shadow.offer(demand, {"input": rows}, [0.0, 1.0, 2.0])
    shadow.step()
    assert counts(metrics, twin) == {"agreed": 1, "failed": 2}


@dataclass
class WithSchema:
    schema: Schema


def adapted(ours: Schema, theirs: Schema, tensors: dict[str, Any]) -> Any:
    adapter = adapt(WithSchema(ours), WithSchema(theirs))  # type: ignore[arg-type]
    return None if adapter is None else adapter(tensors)


def test_inputs_are_taken_over_by_the_fields_names() -> None:
    b, d = NUMBERS.fields[1], NUMBERS.fields[3]
    matrix = np.array([[1, 2, 3, 4]], np.float32)
    turned = replace(NUMBERS, fields=(d, b))
    assert adapted(NUMBERS, turned, {"input": matrix})["input"].tolist() == [[4, 2]]
    assert adapted(turned, NUMBERS, {"input": matrix[:, :2]}) is None
    mixed = SCHEMAS["mixed"]
    number = replace(mixed, fields=(mixed.fields[1], mixed.fields[0]))
    tensors = {"age": matrix[:, :1], "income": matrix[:, 1:2], "plan": np.array([["basic"]], object)}
    assert adapted(mixed, number, tensors)["input"].tolist() == [[2, 1]]
    assert set(adapted(mixed, mixed, tensors)) == {"age", "income", "plan"}
    other = replace(mixed, fields=(replace(mixed.fields[2], kind="number", categories=()),))
    assert adapted(mixed, other, tensors) is None


def test_champion_canary_and_shadow_in_one_process(place: Place) -> None:
    first = place.serve("digits", "digits", 0)
    second, third = place.publish("digits", "digits", 1), place.publish("digits", "digits", 2)
    keyed = [
        post("/v1/models/digits:predict", {"instances": [[[1.0] * 8] * 8]}, X_Trimtab_Key=f"k{i}") for i in range(40)
    ]
    place.say("digits", "canaried", second, percent=50)
    place.say("digits", "shadowed", third)
    with running(place, "digits") as server, Raw(server.url) as raw:
        server.until(lambda: server.get("/v2/models/digits")[1]["versions"] == [first, second])

        def asked() -> bool:
            answered = [raw.ask(request)[1]["x-model-version"] for request in keyed]
            assert set(answered) == {first, second}
            assert answered == [raw.ask(request)[1]["x-model-version"] for request in keyed]
            return server.metric(NAME, version=third) >= 80

        server.until(asked)
        assert server.get(f"/v2/models/digits/versions/{third}/ready")[0] == 404
        status, _, answer = raw.ask(post(f"/v2/models/digits/versions/{third}/infer", {"inputs": []}))
        assert status == 404
        assert first in answer["error"]
        place.say("digits", "rejected", second)
        place.say("digits", "canaried", third, percent=100)
        server.until(lambda: raw.ask(keyed[0])[1]["x-model-version"] == third)
        place.say("digits", "promoted", third)
        server.until(lambda: server.get("/v2/models/digits")[1]["versions"] == [third])
    logged = {v: predictions.list_files(place.store, "digits", v) for v in (first, second, third)}
    shares = {v: set(predictions.read_files(place.store, files)["_share"].to_pylist()) for v, files in logged.items()}
    assert shares[second] == {50}
    assert shares[first] <= {50, 100}  # alone, while the others were being loaded
    assert shares[third] == {100}  # none of the rows that it answered in the shadow
    assert server.log.read_text().count(f"loaded and warmed {third}") == 1


def test_a_version_that_fails_a_check_is_refused_in_the_shadow(place: Place) -> None:
    first = place.serve("digits", "digits", 0)
    wrong, tampered = place.publish("digits", "digits", 1, wrong=True), place.publish("digits", "digits", 2)
    place.store.put(f"models/digits/versions/{tampered}/model.onnx", b"no graph")
    with running(place, "digits") as server, Raw(server.url) as raw:
        for version, why in ((wrong, "something else than recorded"), (tampered, "model.onnx")):
            place.say("digits", "shadowed", version)
            server.until(lambda version=version: rollouts.refusals(place.store, "digits", version))
            (refusal,) = rollouts.refusals(place.store, "digits", version)
            assert why in refusal.reason
            assert raw.ask(PREDICT)[1]["x-model-version"] == first
            assert server.metric(NAME, version=version) == 0
