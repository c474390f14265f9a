"""Several devices in one system: pages of their own, connected over WebRTC by the codes that people copy.

The quick tests have the stand-in for the engine, whose thoughts are made up, so that they need no GPU. The slow ones
compare every hand-off of the real engine with those of a single page.
"""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Locator, expect

from harness.engine_page import WEB, serving
from harness.playground import Playground, drop, open_playground
from harness.server import serve
from recursivemas.training.recursion import Recursion
from tests.conftest import Once

pytestmark = pytest.mark.browser

# Between runtimes, where bits differ: the largest error of a hand-off, relative to its largest value.
TOLERANCE = 1e-5

# Beside what Chromium gives a page: a way to change what a page sends over its channels.
TAMPER = """
const send = RTCDataChannel.prototype.send;
RTCDataChannel.prototype.send = function (packet) {
  const kind = new TextDecoder().decode(packet.subarray(5, 60));
  const change = window.tamper;
  if (change === "drop") return;
  if (change === "garbage" && kind.startsWith('{"kind":"done"')) {
    return send.call(this, crypto.getRandomValues(new Uint8Array(64)));
  }
  if (change === "shape" && kind.startsWith('{"kind":"done"')) {
    const text = new TextDecoder("latin1").decode(packet);
    const lie = text.replace(/"shape":\\[(\\d+),(\\d+)/, '"shape":[$2,$1');
    return send.call(this, Uint8Array.from(lie, (each) => each.charCodeAt(0)));
  }
  return send.call(this, packet);
};
"""


class Table:
    """Devices around one system.

    Attributes:
        lead: The page that leads.
    """

    def __init__(self, browser: Browser, url: str, stack: ExitStack, *, load: bool) -> None:
        self._browser, self._url, self._stack = browser, url, stack
        self.lead = self.visitor()
        self.lead.open()
        if load:
            self.lead.load()

    def visitor(self, **options: Any) -> Playground:
        """A page of somebody else."""
        playground = self._stack.enter_context(open_playground(self._browser, self._url, **options))
        playground.page.add_init_script(TAMPER)
        return playground

    def call(self, name: str, **options: Any) -> Playground:
        """Connects a device by carrying the codes, as people do.

        Args:
            name: What the device is called.
            options: How its page is opened.
        """
        lead, member = self.lead.page, self.visitor(viewport={"width": 390, "height": 844}, **options)
        member.page.add_init_script(f"localStorage.setItem('recursivemas-device-name', {json.dumps(name)})")
        member.page.goto(self.invitation())
        self.pair(member)
        expect(self.card(name)).to_contain_text("connected")
        expect(member.page.locator(".membership-state")).to_contain_text("which leads")
        assert lead.url.startswith(self._url.split("#")[0].split("?")[0])
        return member

    def call_again(self, name: str, member: Playground) -> None:
        """Connects a device that was here before, in the same tab."""
        member.page.goto("about:blank")
        member.page.goto(self.invitation())
        self.pair(member)
        expect(self.card(name)).to_contain_text("connected")

    def invitation(self) -> str:
        """The link that the other device opens."""
        self.lead.view("Devices")
        self.lead.page.get_by_role("button", name=re.compile("^Invite")).click()
        return self.lead.page.get_by_label("Open this link on the other device").input_value()

    def pair(self, member: Playground) -> None:
        """Accepts an invitation, and carries the reply back."""
        member.page.get_by_role("button", name="Join", exact=True).click()
        reply = member.page.get_by_label("Carry this reply back").input_value()
        self.lead.page.get_by_label("Paste the reply").fill(reply)
        self.lead.page.get_by_role("button", name="Connect", exact=True).click()

    def card(self, name: str) -> Locator:
        """A device as the page that leads shows it."""
        return self.lead.page.locator(".device", has=self.lead.page.get_by_role("heading", name=name, exact=True))

    def give(self, agent: str, device: str, member: Playground) -> None:
        """Gives an agent to a device, and agrees there."""
        self.lead.page.get_by_label(f"Device of {agent}").select_option(label=device)
        member.page.get_by_role("button", name=re.compile(r"^Load (the|\d)")).click()
        row = self.lead.page.locator(".places tr", has_text=agent)
        expect(row.locator("td").nth(1)).to_have_text("ready")

    def saved(self) -> dict[str, Any]:
        """The run in view, as the page saves it."""
        self.lead.view("Look inside")
        with self.lead.page.expect_download() as download:
            self.lead.page.get_by_role("button", name="Save this run").click()
        self.lead.view("Devices")
        run: dict[str, Any] = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
        return run

    def start(self) -> None:
        """Begins a run."""
        self.lead.button.click()

    def run(self) -> dict[str, Any]:
        """Runs the question on all devices."""
        self.lead.run()
        return self.saved()

    def start_with_a_phone_that_drops_its_work(self) -> tuple[Playground, dict[str, Any]]:
        """Runs the question here, then gives the critic to a phone, which drops what it computes, and begins again.

        Returns:
            The phone, and the first run.
        """
        alone = self.run()
        phone = self.call("Phone")
        self.give("critic", "Phone", phone)
        phone.page.evaluate("window.tamper = 'drop'")
        self.start()
        return phone, alone

    def waits(self, words: str) -> Locator:
        """What the page says while a run waits for an agent."""
        notice = self.lead.page.locator(".devices-waiting")
        expect(notice).to_contain_text(words)
        return notice


@contextmanager
def around(browser: Browser, url: str, *, load: bool = True) -> Iterator[Table]:
    """Devices around the page at a URL, with its agents loaded unless nothing is to be computed."""
    with ExitStack() as stack:
        table = Table(browser, url, stack, load=load)
        yield table
        assert table.lead.complaints == []


@pytest.fixture
def pretend(browser: Browser, once: Once) -> Iterator[Table]:
    """The page on the stand-in for the engine."""

    def build(out: Path) -> None:
        command = ["npx", "--no-install", "vite", "build", "-c", "test/ui/vite.config.ts", "--outDir", str(out)]
        subprocess.run(command, cwd=WEB, check=True, capture_output=True, text=True)
        shutil.copy(out / "test/ui/dev.html", out / "test/ui/index.html")

    with serve({"/": once("stand-in", build)}) as origin, around(browser, f"{origin}/test/ui/") as table:
        yield table


@pytest.fixture
def table(browser: Browser, built: Path, default_system: Path, systems_folder: Path) -> Iterator[Table]:
    """The page that ships, on the real engine."""
    with serving(built, systems_folder) as url, around(browser, f"{url}?system=hop-sequential&n=15") as table:
        yield table


def bits(run: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every hand-off of a saved run, in base64 of its float32 numbers, and the answer with its tokens."""
    handed = [
        (each["round"], each["edge"], each["states"]["rows"], each["states"]["data"])
        for each in run["result"]["handoffs"]
    ]
    assert handed
    return [*handed, (run["result"]["answer"], *run["result"]["answer_token_ids"])]


def test_devices_are_paired_by_a_link_and_share_a_run(pretend: Table, tmp_path: Path) -> None:
    phone = pretend.call("Phone")
    assert "#join" not in phone.page.url
    pretend.lead.page.get_by_label("Device of critic").select_option(label="Phone")
    phone.shoot("devices-asked-390", tmp_path)
    pretend.give("critic", "Phone", phone)
    run = pretend.run()
    assert len(run["result"]["turns"]) == 9
    rows = [row.locator("td").all_inner_texts() for row in pretend.lead.page.locator(".sent tbody tr").all()]
    assert [(row[0], row[1], row[2]) for row in rows if row[2] == "Phone"] == [
        (f"round {each}", rows[0][1], "Phone") for each in (1, 2, 3)
    ]
    assert len(rows) == 6
    expect(phone.page.locator(".membership .device-bytes")).to_contain_text("3 turns taken")
    compare = pretend.lead.page.locator(".devices-compare")
    compare.get_by_role("button", name="Compare on this question").click()
    expect(compare.get_by_role("button", name="Compare again")).to_be_enabled()
    assert compare.locator("h4").all_inner_texts() == ["Latent", "Text"]
    for width in (1280, 390):
        pretend.lead.page.set_viewport_size({"width": width, "height": 844})
        assert pretend.lead.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        pretend.lead.shoot(f"devices-leader-{width}", tmp_path)
    # The invited device asks nothing itself, and says why.
    expect(phone.button).to_be_disabled()
    phone.page.get_by_role("button", name="Leave").click()
    expect(pretend.card("Phone")).to_contain_text("gone")


def test_devices_that_go_or_lie_pause_the_run_until_their_agent_is_taken_over(pretend: Table) -> None:
    phone = pretend.call("Phone")
    pretend.give("critic", "Phone", phone)
    phone.page.evaluate("window.tamper = 'shape'")
    pretend.start()
    pretend.waits("The run waits for the critic. Phone is gone.")
    expect(pretend.card("Phone")).to_contain_text("has the shape (160, 2), expected (2, 160)")
    expect(phone.page.locator(".devices-problem")).to_contain_text("has the shape (160, 2)")
    pretend.call_again("Phone", phone)
    phone.page.get_by_role("button", name="Load the critic").click()
    pretend.lead.wait()
    phone.page.evaluate("window.tamper = 'garbage'")
    pretend.start()
    notice = pretend.waits("The run waits for the critic. Phone is gone.")
    notice.get_by_role("button", name="Take the critic over here").click()
    pretend.lead.wait()
    assert len(pretend.saved()["result"]["turns"]) == 9


def test_page_that_ships_pairs_under_its_content_security_policy(
    browser: Browser, built: Path, default_system: Path, systems_folder: Path
) -> None:
    with serving(built, systems_folder) as url, around(browser, f"{url}?system=hop-sequential", load=False) as table:
        phone = table.call("Phone")
        table.lead.page.get_by_label("Device of critic").select_option(label="Phone")
        expect(phone.page.get_by_role("button", name="Load the critic")).to_be_visible()
        assert phone.complaints == []
        asked = {url for page in (phone, table.lead) for url in page.requests}
        assert {each for each in asked if not each.startswith((url, "blob:"))} == set()


@pytest.mark.slow
def test_two_devices_answer_as_one_bit_for_bit(table: Table, reference: Recursion, tmp_path: Path) -> None:
    table.lead.run()
    alone = table.saved()
    phone = table.call("Phone")
    table.give("critic", "Phone", phone)
    # The phone has downloaded its own agent and what all share, nothing of the others.
    fetched = [url for url in phone.requests if "/agents/" in url]
    assert fetched
    assert all("/agents/critic" in url for url in fetched)
    together = table.run()
    assert bits(together) == bits(alone)
    question = together["options"]["question"]
    assert together["result"]["answer"] == reference.run([question], rounds=3).texts[0]
    rows = [row.locator("td").all_inner_texts() for row in table.lead.page.locator(".sent tbody tr").all()]
    sizes = {agent["id"]: agent["hidden_size"] for agent in together["system"]["agents"]}
    expected = [together["options"]["latent_steps"] * 4 * sizes[agent] for agent in ("critic", "solver")]
    assert [row[3] for row in rows] == [shown(each) for each in expected] * 3
    compare = table.lead.page.locator(".devices-compare")
    compare.get_by_role("button", name="Compare on this question").click()
    expect(compare.get_by_role("button", name="Compare again")).to_be_enabled()
    latent, text = compare.locator(".measured-answer").all_inner_texts()
    assert latent.startswith(together["result"]["answer"])
    written = reference.run([question], rounds=3, mode="text").texts[0]
    assert text.startswith(written)
    for name, page in (("leader", table.lead), ("member", phone)):
        for width in (1280, 390):
            page.page.set_viewport_size({"width": width, "height": 844})
            page.shoot(f"devices-real-{name}-{width}", tmp_path)
    assert phone.complaints == []


@pytest.mark.slow
def test_three_devices_answer_as_one_and_survive_a_lost_one(table: Table) -> None:
    table.lead.run()
    alone = table.saved()
    phone, tablet = table.call("Phone"), table.call("Tablet")
    table.give("planner", "Phone", phone)
    table.give("critic", "Tablet", tablet)
    assert bits(table.run()) == bits(alone)
    # One agent's device closes in the middle of a run; the agent moves to another device, which never held it.
    tablet.page.evaluate("window.tamper = 'drop'")
    table.start()
    expect(table.lead.page.locator(".sent tbody tr").last).to_contain_text("Tablet")
    tablet.page.context.close()
    table.waits("The run waits for the critic. Tablet is gone.")
    table.lead.page.get_by_label("Device of critic").select_option(label="Phone")
    phone.page.get_by_role("button", name="Load the critic").click()
    table.lead.wait()
    assert bits(table.saved()) == bits(alone)


@pytest.mark.slow
def test_device_that_stalls_is_shown_as_silent_and_its_agent_is_taken_over(table: Table) -> None:
    phone, alone = table.start_with_a_phone_that_drops_its_work()
    expect(table.card("Phone")).to_contain_text("does not answer")
    phone.page.evaluate("window.tamper = undefined")
    expect(table.card("Phone")).to_contain_text("connected")
    # What it computed meanwhile was lost, so its agent is taken over; it is still loaded here.
    table.lead.page.get_by_label("Device of critic").select_option(index=0)
    table.lead.wait()
    assert bits(table.saved()) == bits(alone)


@pytest.mark.slow
def test_device_that_went_away_in_a_run_comes_back_and_goes_on_bit_for_bit(table: Table) -> None:
    # It takes the first turn's work with it when it goes.
    phone, alone = table.start_with_a_phone_that_drops_its_work()
    expect(table.lead.page.locator(".sent tbody tr").last).to_contain_text("Phone")
    phone.page.goto("about:blank")
    table.waits("The run waits for the critic. Phone is gone.")
    table.call_again("Phone", phone)
    phone.page.get_by_role("button", name="Load the critic").click()
    table.lead.wait()
    # The turn that was lost is taken again, and those of the later rounds follow, all of them there.
    expect(phone.page.locator(".membership .device-bytes")).to_contain_text("3 turns taken")
    assert bits(table.saved()) == bits(alone)


@pytest.mark.slow
def test_devices_with_and_without_a_graphics_card_share_a_run(table: Table, reference: Recursion) -> None:
    phone = table.call("Phone", inject='Object.defineProperty(navigator, "gpu", { value: undefined });')
    table.lead.page.get_by_label("Device of critic").select_option(label="Phone")
    phone.page.get_by_role("button", name="Load the critic").click()
    phone.page.get_by_role("button", name="Run without a graphics card").click()
    expect(table.lead.page.locator(".places tr", has_text="critic").locator("td").nth(1)).to_have_text("ready")
    expect(phone.page.locator(".system-facts")).to_contain_text("on the processor")
    expect(table.lead.page.locator(".system-facts")).not_to_contain_text("on the processor")
    run = table.run()
    result, question = run["result"], run["options"]["question"]
    expect(phone.page.locator(".membership .device-bytes")).to_contain_text("3 turns taken")
    expected = reference.run([question], rounds=3)
    assert result["answer"] == expected.texts[0]
    wanted = [(edge, rows[0].numpy()) for turn in expected.turns for edge, rows in turn.hand_offs.items()]
    assert [each["edge"] for each in result["handoffs"]] == [edge for edge, _ in wanted]
    for each, (_, right) in zip(result["handoffs"], wanted, strict=True):
        came = np.frombuffer(base64.b64decode(each["states"]["data"]), "<f4").reshape(right.shape)
        assert np.abs(came - right).max() < TOLERANCE * np.abs(right).max()


@pytest.mark.slow
def test_device_with_other_links_is_refused_on_both_sides(table: Table, tmp_path: Path, default_system: Path) -> None:
    links = json.loads(next(default_system.glob("recursivelink-*.json")).read_text(encoding="utf-8"))
    links["provenance"] = {"note": "the same numbers in another file"}
    other = tmp_path / "recursivelink.json"
    other.write_text(json.dumps(links), encoding="utf-8")
    phone = table.visitor()
    phone.open()
    drop(phone.page, other)
    expect(phone.page.locator(".system-facts")).to_contain_text("links from recursivelink.json")
    phone.view("Devices")
    phone.page.get_by_text("Another device has invited this one").click()
    phone.page.get_by_label("Paste the invitation").fill(table.invitation())
    phone.page.get_by_role("button", name="Go on").click()
    table.pair(phone)
    for page in (phone, table.lead):
        expect(page.page.locator(".devices-problem")).to_contain_text("the devices have different links")


def shown(size: int) -> str:
    """Bytes as the page writes them."""
    return f"{size}\u202fB" if size < 1000 else f"{size / 1000:.1f}\u202fkB"
