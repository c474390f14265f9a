/** What the page keeps in its address, and what in the tab's history. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { INITIAL, printAddress } from "../../src/ui/model/url";
import { createPage } from "../../src/ui/state/page";

/** A tab: its address, its history entry and the page's listeners. */
class Tab extends EventTarget {
  readonly location = { search: "", pathname: "/app/" };
  entry: unknown = null;
  limit = Number.POSITIVE_INFINITY;
  readonly history: { state: unknown; pushState: unknown; replaceState: unknown };
  setTimeout = setTimeout;
  clearTimeout = clearTimeout;

  constructor() {
    super();
    const write = (entry: unknown, _: string, address: string): void => {
      if (JSON.stringify(entry).length > this.limit) throw new DOMException("too big", "DataCloneError");
      this.entry = structuredClone(entry);
      this.location.search = address.startsWith("?") ? address : "";
    };
    const tab = this;
    this.history = {
      get state() {
        return tab.entry;
      },
      pushState: write,
      replaceState: write,
    };
  }
}

let tab: Tab;

beforeEach(() => {
  vi.useFakeTimers();
  tab = new Tab();
  tab.setTimeout = setTimeout;
  tab.clearTimeout = clearTimeout;
  vi.stubGlobal("window", tab);
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

const long = "a?ü ".repeat(25_000);

test("a question of 100,000 characters stays out of the address and survives a reload", () => {
  createPage().set({ question: long, rounds: 5 });
  vi.advanceTimersByTime(1000);
  expect(tab.location.search).toBe("?rounds=5");
  expect(createPage().state.value).toEqual({ ...INITIAL, question: long, rounds: 5 });
});

test("it also survives a change of view and going back", () => {
  const page = createPage();
  page.set({ question: long });
  page.set({ view: "compare" });
  const compared = tab.entry;
  expect(tab.location.search).toBe("?view=compare");
  page.set({ view: "watch", question: "short" });
  expect([tab.location.search, tab.entry]).toEqual(["?q=short", null]);
  tab.location.search = "?view=compare";
  tab.entry = compared;
  tab.dispatchEvent(new Event("popstate"));
  expect(page.state.value).toEqual({ ...INITIAL, question: long, view: "compare" });
});

test("a link within the page forgets nothing", () => {
  const page = createPage();
  page.set({ question: long });
  vi.advanceTimersByTime(1000);
  tab.entry = null;
  tab.dispatchEvent(new Event("popstate"));
  expect(page.state.value.question).toBe(long);
  expect(createPage().state.value.question).toBe(long);
});

test("what the browser does not keep is lost on reload, and nothing else is", () => {
  tab.limit = 1000;
  const page = createPage();
  page.set({ question: long, rounds: 5 });
  vi.advanceTimersByTime(1000);
  expect(page.state.value.question).toBe(long);
  expect(createPage().state.value).toEqual({ ...INITIAL, rounds: 5 });
});

test("only the longest texts stay out of an address, and never a part of a list", () => {
  const prompts = { planner: "p".repeat(3000), solver: "s".repeat(1500) };
  const { query, whole } = printAddress({ ...INITIAL, prompts, off: ["a->b", "b->c"] });
  expect(whole).toBe(false);
  const kept = [...new URLSearchParams(query).keys()];
  expect(kept).toEqual(["off", "off", "prompt.solver"]);
  expect(printAddress({ ...INITIAL, question: "q".repeat(3900) }).whole).toBe(true);
});
