/** The whole page on the stand-in engine, in a document without a browser, and what a visitor does there. */
import { render } from "preact";
import { afterEach, expect, vi } from "vitest";
import { mount } from "../../src/ui/main";
import type { Backend } from "../../src/ui/state/backend";
import { type FakeOptions, fakeBackend } from "./fake-engine";

const FAKE: FakeOptions = { stepMs: 0, fail: null, failWhen: "run", pattern: "sequential" };

// The document has none; runs of one page do not compete.
const locks = { request: (_name: string, _options: unknown, work: () => unknown) => work() };
Object.defineProperty(navigator, "locks", { value: locks, configurable: true });

let leave: () => void = () => {};

afterEach(() => leave());

/** What the page shows, as a visitor reads it. */
export class Visitor {
  /** Addresses of the systems that were loaded, in order. */
  readonly loaded: string[] = [];
  /** How many runs have begun. */
  runs = 0;
  readonly #root: HTMLElement;

  /**
   * @param query - of the page's address, with its `?`.
   * @param changes - of the stand-in's behaviour and of what it offers.
   */
  constructor(query: string, { fake = {}, backend = {} }: VisitorOptions = {}) {
    leave();
    window.localStorage.clear();
    window.history.replaceState(null, "", `/${query}`);
    this.#root = document.body.appendChild(document.createElement("div"));
    leave = () => {
      render(null, this.#root);
      this.#root.remove();
    };
    const whole = fakeBackend({ ...FAKE, ...fake });
    mount(this.#root, {
      ...whole,
      ...backend,
      loadSystem: async (url, options) => {
        this.loaded.push(String(url));
        const handle = await whole.loadSystem(url, options);
        const { run } = handle;
        return Object.assign(handle, {
          run: (...args: Parameters<typeof run>) => {
            this.runs += 1;
            return run(...args);
          },
        });
      },
    });
  }

  /** The text of the first element that a selector finds; undefined if there is none. */
  text(selector: string): string | undefined {
    return this.#root.querySelector(selector)?.textContent?.replace(/\s+/g, " ").trim();
  }

  /** The texts of all elements that a selector finds. */
  texts(selector: string): string[] {
    return [...this.#root.querySelectorAll(selector)].map((each) => each.textContent?.trim() ?? "");
  }

  /** Waits for a button that begins with exactly these words and can be clicked, and clicks it. */
  async click(text: string, within = "*"): Promise<void> {
    const button = await vi.waitFor(
      () => {
        const all = [...this.#root.querySelectorAll<HTMLButtonElement>(`${within} button`)];
        const found = all.find((each) => each.firstChild?.textContent?.trim() === text && !each.disabled);
        expect(found, `a button '${text}' among ${all.map((each) => each.textContent)}`).toBeDefined();
        return found;
      },
      { timeout: 60_000 },
    );
    button?.click();
  }

  /** Types into the field with a label, and leaves it. */
  enter(label: string, text: string): void {
    const found = [...this.#root.querySelectorAll("label")].find((each) => each.textContent === label);
    const field = this.#root.querySelector<HTMLInputElement>(`[id="${found?.htmlFor}"]`);
    expect(field, `a field '${label}'`).not.toBeNull();
    if (!field) return;
    field.value = text;
    field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  /** Goes to a view. */
  follow(view: string): void {
    const links = [...this.#root.querySelectorAll<HTMLAnchorElement>("nav a")];
    const found = links.find((each) => each.textContent?.trim() === view);
    expect(found, `a view '${view}'`).toBeDefined();
    found?.click();
  }

  /** Waits until the page shows something. */
  async sees(what: () => void): Promise<void> {
    await vi.waitFor(what, { timeout: 60_000 });
  }
}

interface VisitorOptions {
  readonly fake?: Partial<FakeOptions>;
  readonly backend?: Partial<Pick<Backend, "readCatalog" | "readSystem">>;
}
