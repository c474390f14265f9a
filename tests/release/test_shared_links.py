"""Links without agents: what is refused, what their repository says, and `rmas links publish` against the stand-in."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from recursivemas.cli.app import app
from recursivemas.release.hub_upload import Upload, check_on_hub, publish_to_hub
from recursivemas.release.links_card import TAG, links_card
from recursivemas.release.links_publish import publish_links
from recursivemas.release.release_folder import check_release_folder
from recursivemas.release.shared_links import Share, share_links
from recursivemas.system.errors import InputError
from recursivemas.system.shared_links import SharedLinks, load_gallery, load_shared_links
from recursivemas.system.system import load_system
from recursivemas.training.trained_with import check_trained_with

from .hub_stand_in import Fault, Hub
from .made_system import make_system
from .test_hub_upload import FOREVER
from .test_hub_upload import hub as hub  # a fixture

ROOT = Path(__file__).parents[2]
SYSTEM = ROOT / "systems/drift-sequential.yaml"
LINKS = ROOT / "systems/links/drift-sequential.recursivelink.json"
EVIDENCE = ROOT / "docs/evidence"
FIRST = ROOT / "tests/fixtures/formats-1"
REPO = "owner/drift-links"

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture(scope="module")
def share() -> Share:
    """Shipped links with their measurements."""
    return share_links(LINKS, SYSTEM, "apache-2.0", [EVIDENCE])


def changed(folder: Path, **keys: Any) -> Path:
    """The link file with other keys."""
    path = folder / "links.json"
    path.write_text(json.dumps(json.loads(LINKS.read_text()) | keys), encoding="utf-8")
    return path


def test_record_says_what_the_files_say(share: Share) -> None:
    record, report = share.record, json.loads((EVIDENCE / "bench-accuracy-drift-sequential.json").read_text())
    assert [(agent.id, agent.hidden_size) for agent in record.agents] == [("scout", 96), ("judge", 128)]
    weights = (ROOT / "systems/agents/scout/model.safetensors").read_bytes()
    expected = hashlib.sha256(hashlib.sha256(weights).digest()).hexdigest()
    assert record.agents[0].weights_sha256 == expected
    assert (record.links.size_bytes, record.links.sha256) == (len(share.content), report["links_sha256"])
    assert (record.trained.data, record.trained.rounds, record.trained.latent_steps) == ("generator:drift", 3, 2)
    rows = [(row.mode, row.rounds, row.accuracy, row.low, row.high) for row in record.measured]
    assert rows == [
        (cell["mode"], cell["rounds"], cell["accuracy"], cell["low"], cell["high"]) for cell in report["cells"]
    ]


def test_card_says_what_the_record_says(share: Share) -> None:
    card = links_card(share)
    head, body = card.removeprefix("---\n").split("\n---\n", 1)
    data = yaml.safe_load(head)
    assert (data["license"], data["library_name"]) == ("apache-2.0", "recursivemas")
    assert {TAG, "pattern-sequential", "links-ln_res"} <= set(data["tags"])
    assert "base_model" not in data, "the agents come from folders, not from the Hub"
    for words in (share.record.links.sha256, "generator:drift", "| scout (scout) | scout | none |", "learning_rate"):
        assert words in body
    best = max(share.record.measured, key=lambda row: (row.mode == "latent", row.control == "none", row.accuracy))
    assert f"| {best.accuracy:.3f} | {best.low:.3f} to {best.high:.3f} |" in body


def test_card_names_base_checkpoints_and_adapters_of_the_hub(share: Share) -> None:
    record = load_shared_links(FIRST / "shared-links.json")
    card = links_card(Share(share.system, share.links, share.content, record))
    data = yaml.safe_load(card.removeprefix("---\n").split("\n---\n", 1)[0])
    assert data["base_model"] == ["owner/adapter", "owner/critic"]
    assert data["base_model_relation"] == "adapter"
    assert "[owner/critic](https://huggingface.co/owner/critic) at `aaaaaaaaaaaa`" in card
    assert "owner/adapter at `bbbbbbbbbbbb`, `cccccccccccc`" in card


BROKEN = {
    "no provenance": ({"provenance": {}}, "does not say 'data'"),
    "provenance of converted links": ({"provenance": {"converted_from": "released adapters"}}, "does not say 'data'"),
    "links of another system": ({"system": "walk"}, "was trained for the system 'walk'"),
    "another activation": ({"activation": "gelu_tanh"}, "compute 'gelu' and 1e-05 only"),
}


@pytest.mark.parametrize(("keys", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_links_that_nobody_could_use_are_refused(tmp_path: Path, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        share_links(changed(tmp_path, **keys), SYSTEM, "mit")
    assert "\n" not in str(caught.value)


def test_links_that_do_not_fit_the_system_are_refused(tmp_path: Path) -> None:
    data = json.loads(LINKS.read_text())
    inner = data["inner"]
    with pytest.raises(InputError, match="maps hidden size 128 to 128, but the agents need 96 to 96"):
        share_links(changed(tmp_path, inner={"scout": inner["judge"], "judge": inner["scout"]}), SYSTEM, "mit")
    with pytest.raises(InputError, match="its inner links are scout, but those of drift-sequential are scout, judge"):
        share_links(changed(tmp_path, inner={"scout": inner["scout"]}), SYSTEM, "mit")
    with pytest.raises(InputError, match="its inner links are scout, judge, more"):
        share_links(changed(tmp_path, inner={**inner, "more": inner["scout"]}), SYSTEM, "mit")
    few = data["provenance"] | {"agents_sha256": {"scout": "0" * 64}}
    with pytest.raises(InputError, match="agents_sha256 must name the agents scout, judge"):
        share_links(changed(tmp_path, provenance=few), SYSTEM, "mit")


def test_a_report_about_other_links_is_refused(tmp_path: Path) -> None:
    report = EVIDENCE / "bench-accuracy-drift-sequential.json"
    with pytest.raises(InputError, match="not measured with the links"):
        share_links(changed(tmp_path), SYSTEM, "mit", [report])


def test_agents_must_have_the_weights_that_the_links_were_trained_with(share: Share) -> None:
    system = load_system(SYSTEM)
    check_trained_with(system, share.links, LINKS)
    with pytest.raises(InputError, match="leave out --agents-changed"):
        check_trained_with(system, share.links, LINKS, "They were converted.")
    others = share.links.provenance["agents_sha256"] | {"judge": "0" * 64}
    links = share.links.model_copy(update={"provenance": share.links.provenance | {"agents_sha256": others}})
    with pytest.raises(InputError, match="other weights of judge than"):
        check_trained_with(system, links, LINKS)
    check_trained_with(system, links, LINKS, "They were converted.")
    told = share_links(LINKS, SYSTEM, "mit", agents_changed="They were converted.")
    assert "were trained with: They were converted." in links_card(told)


def command(*options: str) -> Any:
    """`rmas links publish` with the shipped links."""
    words = [
        "links",
        "publish",
        str(LINKS),
        "--system",
        str(SYSTEM),
        "--hub",
        REPO,
        "--license",
        "apache-2.0",
        *options,
    ]
    return CliRunner().invoke(app, words)


def test_dry_run_lists_the_files_and_asks_nobody(hub: Hub, share: Share) -> None:
    result = command("--dry-run", "--measured", str(EVIDENCE))
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()[1:]]
    files = {"recursivelink.json": share.content, "shared-links.json": share.record.text().encode()}
    files["README.md"] = links_card(share).encode()
    assert lines == [
        [name, str(len(content)), "bytes", hashlib.sha256(content).hexdigest()] for name, content in files.items()
    ]
    assert hub.requests == []


def test_command_publishes_what_anybody_can_read_again(hub: Hub, share: Share, tmp_path: Path) -> None:
    result = command("--measured", str(EVIDENCE))
    assert result.exit_code == 0, result.output
    head = hub.repositories[REPO].head
    assert result.stdout == f"{hub.endpoint}/{REPO}/resolve/{head.oid}/shared-links.json\n"
    assert set(head.tree) == {"README.md", "recursivelink.json", "shared-links.json", ".gitattributes"}
    assert hub.content(REPO, "recursivelink.json") == LINKS.read_bytes()
    (tmp_path / "shared-links.json").write_bytes(hub.content(REPO, "shared-links.json"))
    assert load_shared_links(tmp_path / "shared-links.json") == share.record
    again = command("--measured", str(EVIDENCE))
    assert again.exit_code == 0 and again.stdout == result.stdout
    assert len(hub.repositories[REPO].commits) == 2, "the same links were committed twice"


def publish(share: Share, repo_id: str = REPO) -> list[str]:
    return list(publish_links(share, repo_id, private=False, dry_run=False, say=lambda _: None))


def test_publish_survives_passing_faults_and_goes_on_after_lasting_ones(hub: Hub, share: Share) -> None:
    hub.faults.append(Fault("POST", "/commit/main$", 500))
    publish(share)
    assert len(hub.repositories[REPO].commits) == 2
    hub.faults[:] = [Fault("POST", "/commit/main$", 503, FOREVER, "out of order")]
    with pytest.raises(InputError, match="run it again"):
        publish(share, "owner/second")
    hub.faults.clear()
    publish(share, "owner/second")
    assert hub.content("owner/second", "recursivelink.json") == share.content


def test_publish_says_when_the_hub_holds_other_bytes(hub: Hub, share: Share) -> None:
    publish(share)
    oid = hub.repositories[REPO].head.oid
    content = {"recursivelink.json": share.content}
    check_on_hub(Upload(dict(content), "", lambda *_: set()), REPO, oid)
    with pytest.raises(InputError, match="holds other bytes of recursivelink"):
        check_on_hub(Upload({"recursivelink.json": b"x" + share.content[1:]}, "", lambda *_: set()), REPO, oid)
    with pytest.raises(InputError, match="does not hold more"):
        check_on_hub(Upload({"more.json": b"{}"}, "", lambda *_: set()), REPO, oid)


def test_publish_refuses_a_repository_of_something_else(hub: Hub, share: Share, tmp_path: Path) -> None:
    publish_to_hub(check_release_folder(make_system(tmp_path / "walk")), "owner/walk")
    with pytest.raises(InputError, match="holds a built system"):
        publish(share, "owner/walk")
    publish(share)
    record = share.record.model_copy(update={"system": "other"})
    with pytest.raises(InputError, match="holds links of the system 'drift-sequential', these are of 'other'"):
        publish(Share(share.system, share.links, share.content, record))
    assert len(hub.repositories[REPO].commits) == 2


def test_rows_with_early_stopping_say_so(share: Share, tmp_path: Path) -> None:
    report = json.loads((EVIDENCE / "bench-accuracy-drift-sequential.json").read_text())
    report["cells"] = [report["cells"][6] | {"threshold": 0.99}]
    (tmp_path / "report.json").write_text(json.dumps(report))
    stopped = share_links(LINKS, SYSTEM, "mit", [tmp_path / "report.json"])
    assert stopped.record.measured[0].threshold == 0.99
    assert "| latent, stops early at 0.99 |" in links_card(stopped)


def test_rows_say_which_weights_the_agents_had(share: Share, tmp_path: Path) -> None:
    assert "| latent | none | 3 | 2 | checkpoint |" in links_card(share)
    report = json.loads((EVIDENCE / "bench-accuracy-drift-sequential.json").read_text()) | {"weights": "dequantised"}
    (tmp_path / "report.json").write_text(json.dumps(report))
    stored = share_links(LINKS, SYSTEM, "mit", [tmp_path / "report.json"])
    assert {row.weights for row in stored.record.measured} == {"dequantised"}
    assert "| latent | none | 3 | 2 | dequantised |" in links_card(stored)
    assert "unquantized" not in links_card(stored)


def test_example_of_the_documentation_is_a_record_of_these_links(share: Share) -> None:
    text = (ROOT / "docs/sharing-links.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    record = SharedLinks.parse(json.loads(example), "the example")
    assert len(record.measured) == 1 and record.measured[0] in share.record.measured
    assert record == share.record.model_copy(update={"measured": record.measured})


def test_record_and_gallery_of_version_1_load(tmp_path: Path) -> None:
    record = load_shared_links(FIRST / "shared-links.json")
    assert record.agents[1].adapter is not None and record.agents[1].adapter.name == "owner/adapter"
    assert load_gallery(FIRST / "gallery.json").entries[0].record == record
    newer = json.loads((FIRST / "shared-links.json").read_text()) | {"version": 2}
    (tmp_path / "x.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match="record of shared links version 2 is newer than this program's 1"):
        load_shared_links(tmp_path / "x.json")
    unknown = json.loads((FIRST / "shared-links.json").read_text())
    unknown["edges"][0]["to"] = "nobody"
    (tmp_path / "x.json").write_text(json.dumps(unknown))
    with pytest.raises(InputError, match="names the unknown agent 'nobody'"):
        load_shared_links(tmp_path / "x.json")
