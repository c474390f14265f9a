/** Which system is open, how large it is and which GPU it runs on. */
import type { JSX } from "preact";
import { memoryOf } from "../../engine/api";
import { formatBytes, totalBytes } from "../lib/format";
import { useStore } from "../state/store";

export function SystemLine(): JSX.Element {
  const { session } = useStore();
  const system = session.system.value;
  const handle = session.handle.value;
  const links = session.links.value;
  if (!system) {
    return (
      <header class="system-line">
        <h1>{session.phase.value === "failed" ? "No system is open" : "Opening…"}</h1>
        <p class="system-about"> </p>
        <p class="system-facts"> </p>
      </header>
    );
  }
  const size = totalBytes(system.files);
  const { togetherBytes, oneByOneBytes } = memoryOf(system);
  const facts = [
    `${system.agents.length} agents`,
    `${formatBytes(size)} to download`,
    session.runtime.value === "processor"
      ? "without a graphics card"
      : handle && session.liveBytes.value > 0
        ? `${formatBytes(session.liveBytes.value)} of GPU memory in use`
        : `${formatBytes(session.oneByOne.value ? oneByOneBytes : togetherBytes)} of GPU memory`,
    ...(session.oneByOne.value ? ["agents one after another"] : []),
    ...(handle ? [deviceName(handle.device)] : []),
    ...(links ? [`links from ${links.name}`] : []),
  ];
  return (
    <header class="system-line">
      <h1>{system.name}</h1>
      <p class="system-about">{system.description}</p>
      <p class="system-facts">
        {facts.join(" · ")}
        {system.sha256 && (
          <span title={`sha256 of system.json: ${system.sha256}`}>
            {` · manifest ${system.sha256.slice(0, 12)}`}
          </span>
        )}
      </p>
    </header>
  );
}

function deviceName(device: {
  runtime: string;
  vendor: string;
  architecture: string;
  description: string;
  fallback: boolean;
}): string {
  if (device.runtime === "processor") return "on the processor";
  const name =
    device.description || [device.vendor, device.architecture].filter(Boolean).join(" ") || "your GPU";
  return device.fallback ? `on ${name} in software, which is correct but slow` : `on ${name}`;
}
