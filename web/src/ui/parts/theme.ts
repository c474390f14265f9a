/** Light or dark: the visitor's choice, or else the machine's. */

export type Theme = "light" | "dark";

const KEY = "recursivemas.theme";

function stored(): Theme | undefined {
  try {
    const value = window.localStorage.getItem(KEY);
    return value === "light" || value === "dark" ? value : undefined;
  } catch {
    return undefined;
  }
}

export function currentTheme(): Theme {
  return stored() ?? (window.matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

export function setTheme(theme: Theme): void {
  document.documentElement.dataset.theme = theme;
  try {
    window.localStorage.setItem(KEY, theme);
  } catch {
    // Without storage the choice lasts as long as the page.
  }
}

/** Applies the choice of an earlier visit. */
export function restoreTheme(): void {
  const theme = stored();
  if (theme) document.documentElement.dataset.theme = theme;
}
