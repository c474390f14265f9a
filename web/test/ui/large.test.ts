// @vitest-environment happy-dom
/** Views about words open language models, unless the visitor chose a system. */
import { expect, test } from "vitest";
import { fakeBackend } from "./fake-engine";
import { Visitor } from "./visitor";

/** The list beside the page: tiny agents first, then language models, whose files are larger. */
async function readCatalog() {
  const fake = fakeBackend({ stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" });
  const whole = await fake.readCatalog();
  return whole.filter(({ name }) => name === "hop-sequential" || name === "split-facts");
}

const opened = async (query: string, name: string): Promise<Visitor> => {
  const visitor = new Visitor(query, { backend: { readCatalog } });
  await visitor.sees(() => expect(visitor.text(".system-line")).toContain(name));
  // A second system would be read by now.
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(visitor.text(".system-line")).toContain(name);
  return visitor;
};

const asked = (): string | null => new URLSearchParams(window.location.search).get("system");

test.each(["explain", "chat"])(
  "%s opens the language models of the list, and loads nothing",
  async (view) => {
    const visitor = await opened(`?view=${view}`, "split-facts");
    expect(asked()).toBe("https://fake.invalid/c/system.json");
    expect(visitor.loaded).toEqual([]);
  },
);

test.each(["watch", "compare", "measure"])("%s opens the first system of the list", async (view) => {
  await opened(`?view=${view}`, "hop-sequential");
  expect(asked()).toBeNull();
});

test.each(["explain", "chat"])("%s keeps the system that the address names", async (view) => {
  await opened(`?view=${view}&system=hop-sequential`, "hop-sequential");
  expect(asked()).toBe("hop-sequential");
});

test("How it works offers the tiny agents beside language models, and what was chosen stays", async () => {
  const visitor = await opened("?view=explain", "split-facts");
  await visitor.click("Open hop-sequential, whose agents are tiny and answer at once");
  await visitor.sees(() => expect(visitor.text(".system-line")).toContain("hop-sequential"));
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(visitor.text(".system-line")).toContain("hop-sequential");
  expect(visitor.texts("button")).toContain("Open split-facts, whose agents are language models");
});

test("agents that are loaded stay, whatever view is opened next", async () => {
  const visitor = await opened("?view=watch", "hop-sequential");
  await visitor.click("Load the agents");
  await visitor.click("Run");
  await visitor.sees(() => expect(visitor.texts(".main-button button")).toContain("Run again"));
  visitor.follow("How it works");
  await visitor.sees(() => expect(visitor.text(".explain h2")).toBe("How they think together"));
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(visitor.text(".system-line")).toContain("hop-sequential");
  expect(visitor.loaded).toHaveLength(1);
});
