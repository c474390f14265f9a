"""Several devices in one system: pages of their own, connected over WebRTC by the codes that people copy."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, expect

from harness.engine_page import serving
from harness.playground import Playground, open_playground
from recursivemas.training.recursion import Recursion

pytestmark = pytest.mark.browser

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
    const bytes = Uint8Array.from(text.replace(/"shape":\\[(\\d),/, '"shape":[9,'), (each) => each.charCodeAt(0));
    return send.call(this, bytes);
  }
  return send.call(this, packet);
};
"""


class Table:
    """Devices around one system.

    Attributes:
        lead: The page that leads.
    """

    def __init__(self, browser: Browser, url: str, stack: ExitStack) -> None:
        self._browser, self._url, self._stack = browser, url, stack
        self.lead = self._page()
        self.lead.open()
        self.lead.load()

    def _page(self, **options: Any) -> Playground:
        playground = self._stack.enter_context(open_playground(self._browser, self._url, **options))
        playground.page.add_init_script(TAMPER)
        return playground

    def name(self, playground: Playground, name: str) -> None:
        """Calls a device something else; only possible before it is connected."""
        playground.page.get_by_text("This device’s name").click()
        field = playground.page.get_by_label("Others see this device as")
        field.fill(name)
        field.press("Enter")
        playground.page.get_by_text("This device’s name").click()

    def invite(self, name: str, member: Playground | None = None, **options: Any) -> Playground:
        """Connects a device by carrying the codes, as people do."""
        lead = self.lead.page
        self.lead.view("Devices")
        lead.get_by_role("button", name=re.compile("^Invite")).click()
        link = lead.get_by_label("Open this link on the other device").input_value()
        if member is None:
            member = self._page(**options)
            member.page.goto(link)
            member.page.evaluate("(name) => localStorage.setItem('recursivemas-device-name', name)", name)
            member.page.reload()
            # An invitation is taken out of the address when it was read.
            member.page.get_by_text("Another device has invited this one").click()
            member.page.get_by_label("Paste the invitation").fill(link)
            member.page.get_by_role("button", name="Go on").click()
        else:
            member.page.goto(link)
        member.page.get_by_role("button", name="Join").click()
        reply = member.page.get_by_label("Carry this reply back").input_value()
        lead.get_by_label("Paste the reply").fill(reply)
        lead.get_by_role("button", name="Connect").click()
        expect(self.card(name)).to_contain_text("connected")
        expect(member.page.locator(".membership-state")).to_contain_text("which leads")
        return member

    def card(self, name: str) -> Locator:
        """A device as the page that leads shows it."""
        return self.lead.page.locator(".device", has=self.lead.page.get_by_role("heading", name=name, exact=True))

    def give(self, agent: str, device: str) -> None:
        """Chooses the device of an agent."""
        self.lead.page.get_by_label(f"Device of {agent}").select_option(label=device)

    def load(self, member: Playground, *agents: str) -> None:
        """Agrees to hold the agents on an invited device, and waits until they are ready."""
        member.page.get_by_role("button", name=re.compile("^Load (the|\\d)")).click()
        for agent in agents:
            expect(member.page.locator(".device-agents li", has_text=agent)).to_contain_text("ready")
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

    def run(self) -> dict[str, Any]:
        """Runs the question on all devices."""
        self.lead.run()
        return self.saved()


@pytest.fixture
def table(browser: Browser, built: Path, default_system: Path, systems_folder: Path) -> Iterator[Table]:
    with serving(built, systems_folder) as url, ExitStack() as stack:
        table = Table(browser, f"{url}?system=hop-sequential&n=15", stack)
        yield table
        assert table.lead.complaints == []


def bits(run: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Every hand-off of a saved run, in base64 of its float32 numbers, and the answer's tokens."""
    handed = [
        (each["round"], each["edge"], each["states"]["rows"], each["states"]["data"])
        for each in run["result"]["handoffs"]
    ]
    assert handed
    return [*handed, (run["result"]["answer"], *run["result"]["answer_token_ids"])]


def test_two_devices_answer_as_one_bit_for_bit(table: Table, reference: Recursion, tmp_path: Path) -> None:
    table.lead.run()
    alone = table.saved()
    member = table.invite("Phone", viewport={"width": 390, "height": 844})
    table.lead.shoot("devices-connected", tmp_path)
    table.give("critic", "Phone")
    member.shoot("devices-asked-phone", tmp_path)
    table.load(member, "critic")
    together = table.run()
    assert bits(together) == bits(alone)
    question = together["options"]["question"]
    assert together["result"]["answer"] == reference.run([question], rounds=3).texts[0]
    rows = [row.inner_text().split("\t") for row in table.lead.page.locator(".sent tbody tr").all()]
    # Three rounds: the planner's thoughts go there, the critic's come back.
    assert [row[0] for row in rows] == ["planner → critic", "critic → solver"] * 3
    critic = next(agent for agent in together["system"]["agents"] if agent["id"] == "critic")
    steps = together["options"]["latent_steps"]
    assert rows[0][-1].replace("\u202f", " ") == f"{steps * critic['hidden_size'] * 4} B".replace("1024 B", "1.0 kB")
    assert rows[0][2] != rows[0][3] == "Phone"
    expect(member.page.locator(".membership .device-bytes")).to_contain_text("3 turns taken")
    table.lead.page.get_by_role("button", name="Compare on this question").click()
    expect(table.lead.page.locator(".measured > li")).to_have_count(2)
    expect(table.lead.page.get_by_role("button", name="Compare again")).to_be_enabled()
    answers = table.lead.page.locator(".measured-answer").all_inner_texts()
    assert answers[0].startswith(together["result"]["answer"])
    for width in (1280, 390):
        table.lead.page.set_viewport_size({"width": width, "height": 844})
        table.lead.shoot(f"devices-leader-{width}", tmp_path)
        member.page.set_viewport_size({"width": width, "height": 844})
        member.shoot(f"devices-member-{width}", tmp_path)
