"""What every stage keeps to when it runs: same in, same out; bad input is a typed error; twice changes nothing."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from trimtab.core import rollouts, signing
from trimtab.core.blocks import STAGES
from trimtab.core.bundle import list_versions
from trimtab.core.errors import TrimtabError
from trimtab.core.project import parse_project
from trimtab.core.store import open_store
from trimtab.pipelines.configs import Configs

pytestmark = [
    # Lightning's own use of what torch has deprecated.
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

PROJECT = """
name: tiny
task: {kind: classification, target: species}
data: {source: {sklearn: iris}, folds: 2}
fields:
  sepal_length: {kind: number}
  petal_length: {kind: number, nullable: true}
  petal_width: {kind: number}
candidates:
  mlp: {params: {hidden: [8], epochs: 4}}
"""


class Chain:
    """The stages one after another in a folder, each with the outputs of those before."""

    def __init__(self, folder: Path) -> None:
        self.at = folder
        self.project = parse_project(PROJECT, "tiny.yaml")
        self.store = open_store((folder / "store").as_uri())
        self.configs = Configs(self.project)
        self.key = signing.load_or_create_key(folder.parent / "key.pem")
        self.version = ""

    def config(self, stage: str) -> Any:
        """A stage's settings as its component gets them."""
        from importlib import import_module

        made = getattr(self.configs, stage)
        text = made(self.project.candidates["mlp"]) if stage in ("train", "evaluate") else made()
        module = import_module(f"trimtab.{stage}.{'claim' if stage == 'define' else 'stage'}")
        return getattr(module, f"{stage.capitalize()}Config").model_validate_json(text)

    def run(self, stage: str, **given: Path) -> None:
        """Run a stage; a name in `given` replaces one of its inputs."""
        inputs = {n: given.get(n, self.at / n) for n in INPUTS[stage]}
        getattr(self, stage)(self.config(stage), **inputs)

    def define(self, config: Any) -> None:
        from trimtab.define.claim import claim_run
        from trimtab.define.stage import define

        (self.at / "definition.html").write_text(define(config.parsed()).html)
        self.source = claim_run(config, self.store, "")

    def ingest(self, config: Any, source: Any | None = None) -> None:
        import json

        from trimtab.ingest.stage import ingest

        wanted = {"path": str(source)} if source and source.name == "wrong" else json.loads(self.source)
        ingest(config.model_copy(update={"source": wanted}), self.store, self.at / "data", self.at / "judge")

    def validate(self, config: Any, data: Path, judge: Path) -> None:
        from trimtab.validate.stage import validate

        validate(config, data, judge, self.at / "checked", self.at / "checked_judge", self.at / "validation.html")

    def prepare(self, config: Any, checked: Path, checked_judge: Path) -> None:
        from trimtab.prepare.stage import prepare

        prepare(config, checked, checked_judge, self.at / "prepared")

    def baseline(self, config: Any, prepared: Path) -> None:
        from trimtab.baseline.stage import baseline

        baseline(config, prepared, self.at / "naive")

    def train(self, config: Any, prepared: Path) -> None:
        from trimtab.train.stage import train

        train(config, prepared, self.at / "model")

    def evaluate(self, config: Any, prepared: Path, model: Path, checked_judge: Path) -> None:
        from trimtab.evaluate.stage import evaluate

        evaluate(config, prepared, model, checked_judge, self.at / "evaluation", self.store)

    def select(self, config: Any, prepared: Path, naive: Path, model: Path, evaluation: Path) -> None:
        from trimtab.select.stage import select

        select(config, prepared, naive, [model], [evaluation], self.at / "winner", self.at / "selection.json")

    def export(self, config: Any, winner: Path, prepared: Path, selection: Path) -> None:
        from trimtab.export.stage import export

        chosen = selection if selection.name == "wrong" else self.at / "selection.json"
        export(config, winner, prepared, chosen, self.at / "bundle")

    def publish(self, config: Any, bundle: Path) -> None:
        from trimtab.publish.stage import publish

        self.version = publish(config, bundle, self.at / "selection.json", self.store, self.key).version

    def deploy(self, config: Any, version: Any | None = None) -> None:
        from trimtab.deploy.stage import deploy

        named = "v9-00000000" if version and version.name == "wrong" else self.version
        deploy(config, named, True, self.store, "a test", "0" * 16)


INPUTS = {
    "define": (),
    "ingest": ("source",),
    "validate": ("data", "judge"),
    "prepare": ("checked", "checked_judge"),
    "baseline": ("prepared",),
    "train": ("prepared",),
    "evaluate": ("prepared", "model", "checked_judge"),
    "select": ("prepared", "naive", "model", "evaluation"),
    "export": ("winner", "prepared", "selection"),
    "publish": ("bundle",),
    "deploy": ("version",),
}
OUTPUTS = (
    *("definition.html", "data", "judge", "checked", "checked_judge", "validation.html", "prepared", "naive"),
    *("model", "evaluation", "winner", "selection.json", "bundle"),
)


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> list[Chain]:
    """The same rows, seed and threads, twice, in places of their own."""
    folder = tmp_path_factory.mktemp("chains")
    made = []
    for name in ("one", "two"):
        (folder / name).mkdir()
        chain = Chain(folder / name)
        for stage in STAGES:
            chain.run(stage)
        made.append(chain)
    return made


def digest(path: Path) -> str:
    """Over the names and bytes of a file or of all files below a folder."""
    files = sorted(f for f in path.rglob("*") if f.is_file()) if path.is_dir() else [path]
    parts = [f"{f.relative_to(path)} {hashlib.sha256(f.read_bytes()).hexdigest()}" for f in files]
    assert parts
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@pytest.mark.parametrize("name", OUTPUTS)
def test_the_same_in_gives_the_same_out(chains: list[Chain], name: str) -> None:
    one, two = chains
    assert digest(one.at / name) == digest(two.at / name)


def test_the_same_bundle_is_the_same_version_everywhere(chains: list[Chain]) -> None:
    one, two = chains
    assert one.version == two.version


def test_publishing_and_deploying_twice_changes_nothing(chains: list[Chain]) -> None:
    chain = chains[0]
    before = list_versions(chain.store, "tiny"), rollouts.requests(chain.store, "tiny")
    chain.run("publish")
    chain.run("deploy")
    assert (list_versions(chain.store, "tiny"), rollouts.requests(chain.store, "tiny")) == before


@pytest.mark.parametrize(
    ("stage", "name"), [(stage, name) for stage in STAGES for name in INPUTS[stage] if name != "checked_judge"]
)
@pytest.mark.parametrize("what", ["missing", "empty", "junk"])
def test_bad_input_is_a_typed_error(chains: list[Chain], tmp_path: Path, stage: str, name: str, what: str) -> None:
    chain = Chain(tmp_path / "place")
    chain.at.mkdir()
    (tmp_path / "key.pem").unlink(missing_ok=True)
    good = chains[0]
    chain.source, chain.version = good.source, good.version
    wrong = tmp_path / "wrong"
    if what != "missing":
        wrong.mkdir()
    if what == "junk":
        for file in ("manifest.json", "model.json", "evaluation.json", "baseline.json", "schema.json", "rows.csv"):
            (wrong / file).write_bytes(b"\xff{not json")
    inputs = {n: wrong if n == name else good.at / n for n in INPUTS[stage]}
    with pytest.raises(TrimtabError) as caught:
        getattr(chain, stage)(chain.config(stage), **inputs)
    assert caught.value.message
    assert len(caught.value.sentence()) > 20


def test_define_refuses_what_names_no_data(chains: list[Chain], tmp_path: Path) -> None:
    from trimtab.define.claim import claim_run

    chain = chains[0]
    for wrong in ("nothere.csv", '{"sklearn": "digit"}', '{"dataset": "a/b"}', "[]"):
        with pytest.raises(TrimtabError):
            claim_run(chain.config("define"), chain.store, "", data=wrong)
    with pytest.raises(TrimtabError, match="ask or hold"):
        claim_run(chain.config("define"), chain.store, "", release="now")
