/** A wide table that scrolls on its own, with the keyboard too. */
import type { ComponentChildren, JSX } from "preact";

export function TableScroll({
  label,
  children,
}: {
  label: string;
  children: ComponentChildren;
}): JSX.Element {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: the keyboard must reach what scrolls
    <section class="table-scroll" tabIndex={0} aria-label={label}>
      {children}
    </section>
  );
}
