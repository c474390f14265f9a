/** The page's name, its views, the open system, and the switch between light and dark. */
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { type PageState, printAddress, type View } from "../model/url";
import { useStore } from "../state/store";
import { currentTheme, setTheme, type Theme } from "./theme";

const LABELS: Record<View, string> = {
  watch: "Watch",
  chat: "Chat",
  inside: "Look inside",
  compare: "Compare",
  measure: "Measure",
  change: "Change",
  links: "Links",
  devices: "Devices",
  explain: "How it works",
};

export function Top({ onChooseSystem }: { onChooseSystem: () => void }): JSX.Element {
  const { page, session } = useStore();
  const state = page.state.value;
  return (
    <header class="top">
      <a
        class="wordmark"
        href={link(state, "watch")}
        onClick={(event) => go(event, () => page.set({ view: "watch" }))}
      >
        <svg viewBox="0 0 28 28" aria-hidden="true">
          <path d="M14,4.500 a9.500,9.500 0 1,0 9.500,9.500" />
          <circle cx="14" cy="4.500" r="2.600" />
          <circle cx="23.500" cy="14" r="2.600" class="hollow" />
        </svg>
        Recursive<span>MAS</span>
      </a>
      <nav aria-label="Views">
        {(Object.entries(LABELS) as [View, string][]).map(([view, label]) => (
          <a
            key={view}
            href={link(state, view)}
            aria-current={state.view === view ? "page" : undefined}
            onClick={(event) => go(event, () => page.set({ view }))}
          >
            {label}
          </a>
        ))}
      </nav>
      <div class="top-tools">
        <button type="button" class="system-button" onClick={onChooseSystem}>
          <span class="visually-hidden">System: </span>
          {session.system.value?.name ?? "System"}
          <svg viewBox="0 0 10 10" aria-hidden="true">
            <path d="M2,3.500 L5,6.500 L8,3.500" />
          </svg>
        </button>
        <ThemeButton />
      </div>
    </header>
  );
}

function link(state: PageState, view: View): string {
  const { query } = printAddress({ ...state, view });
  return query === "" ? "./" : `?${query}`;
}

/** Plain clicks stay on the page; opening in a new tab works as for any link. */
function go(event: MouseEvent, act: () => void): void {
  if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  event.preventDefault();
  act();
}

function ThemeButton(): JSX.Element {
  const [theme, set] = useState<Theme>(currentTheme);
  const other = theme === "dark" ? "light" : "dark";
  return (
    <button
      type="button"
      class="icon theme"
      aria-label={`Switch to ${other} colours`}
      onClick={() => {
        setTheme(other);
        set(other);
      }}
    >
      <svg viewBox="0 0 16 16" aria-hidden="true">
        <circle cx="8" cy="8" r="5.500" />
        <path class="solid" d="M8,2.500 a5.500,5.500 0 0,1 0,11 Z" />
      </svg>
    </button>
  );
}
