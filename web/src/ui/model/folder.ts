/** Recognises what the visitor opens from the disk: a built system's folder, other links or a saved run. */

import type { LocalFiles } from "../../engine/api";
import { reasonOf } from "../../formats/errors";

/** The addresses of opened folders begin with this. */
export const FOLDER = "folder:";

/** No built system has more files. Reading a whole disk, dropped by mistake, would take minutes. */
const MOST_FILES = 10_000;
/** Links and saved runs are JSON, and browsers cannot hold much longer strings. */
export const LARGEST_TEXT_BYTES = 512e6;

/** A built system on the visitor's machine. */
export interface Folder {
  readonly name: string;
  /** The path of its `system.json` among the files. */
  readonly manifest: string;
  readonly files: LocalFiles;
}

/** Another `recursivelink.json`. */
export interface ForeignLinks {
  readonly name: string;
  readonly text: string;
}

/** A file or folder cannot be opened; the message says why in one line. */
export class FolderError extends Error {}

/** What the visitor opened. */
export type Given =
  | { readonly kind: "folder"; readonly folder: Folder }
  | { readonly kind: "links"; readonly links: ForeignLinks }
  | { readonly kind: "trace"; readonly text: string };

/**
 * @param files - by path, as dropped or picked.
 * @throws FolderError if the page cannot open it.
 */
export async function recognise(files: LocalFiles): Promise<Given> {
  const manifest = [...files.keys()]
    .filter((path) => path === "system.json" || path.endsWith("/system.json"))
    .sort((a, b) => a.split("/").length - b.split("/").length)[0];
  if (manifest !== undefined && files.size > 1) return { kind: "folder", folder: folderOf(files, manifest) };
  const [only] = files;
  if (!only || files.size > 1) {
    throw new FolderError(
      "expected the folder of a built system with its system.json, but there is none in it; drop the whole folder",
    );
  }
  const [path, blob] = only;
  if (manifest !== undefined) {
    throw new FolderError("system.json alone is not enough; drop the whole folder that contains it");
  }
  const text = await readText(path, blob, FolderError);
  const format = formatOf(text);
  if (format === "recursivemas.links") return { kind: "links", links: { name: path, text } };
  if (format === "recursivemas.trace") return { kind: "trace", text };
  throw new FolderError(
    `${path} is neither a system's folder, nor a recursivelink.json, nor a run that this page saved`,
  );
}

/**
 * @param path - for messages.
 * @param Refusal - the class of the error that is thrown if the file is too large or cannot be read.
 */
export async function readText(
  path: string,
  blob: Blob,
  Refusal: new (message: string) => Error,
): Promise<string> {
  if (blob.size > LARGEST_TEXT_BYTES) throw new Refusal(`${path} is too large to be links or a saved run`);
  return await readable(path, blob.text(), Refusal);
}

/** A file may change, disappear or become unreadable after it was chosen; that is not the page's mistake. */
async function readable<T>(
  path: string,
  reading: Promise<T>,
  Refusal: new (message: string) => Error,
): Promise<T> {
  try {
    return await reading;
  } catch (error) {
    const reason = reasonOf(error);
    throw new Refusal(`${path} cannot be read: ${reason}; choose it again`);
  }
}

function folderOf(files: LocalFiles, manifest: string): Folder {
  const root = manifest.slice(0, -"system.json".length);
  const inside = [...files].filter(([path]) => path.startsWith(root));
  return {
    name: root.split("/").at(-2) ?? "folder",
    manifest: "system.json",
    files: new Map(inside.map(([path, file]) => [path.slice(root.length), file])),
  };
}

function formatOf(text: string): unknown {
  try {
    const data: unknown = JSON.parse(text);
    return typeof data === "object" && data !== null && "format" in data ? data.format : undefined;
  } catch {
    return undefined;
  }
}

/** @returns the files of a folder or file input, by path. */
export function filesOfInput(picked: FileList): LocalFiles {
  return new Map(Array.from(picked, (file) => [file.webkitRelativePath || file.name, file]));
}

/**
 * @param items - of a drop event. Browsers empty the list when the event handler returns; it is read before that.
 * @returns every file below what was dropped, by path.
 */
export async function filesOfDrop(items: DataTransferItemList): Promise<LocalFiles> {
  const entries = Array.from(items).flatMap((item) => item.webkitGetAsEntry() ?? []);
  const files = new Map<string, Blob>();
  const visit = async (entry: FileSystemEntry): Promise<void> => {
    if (files.size > MOST_FILES)
      throw new FolderError(
        `expected one system's folder, got more than ${MOST_FILES} files; drop a smaller folder`,
      );
    if (entry.isFile) {
      const path = entry.fullPath.replace(/^\//, "");
      const file = new Promise<File>((resolve, reject) =>
        (entry as FileSystemFileEntry).file(resolve, reject),
      );
      files.set(path, await readable(path, file, FolderError));
    } else {
      for (const each of await children(entry as FileSystemDirectoryEntry)) await visit(each);
    }
  };
  for (const entry of entries) await visit(entry);
  return files;
}

/** A directory returns its entries a hundred at a time. */
async function children(directory: FileSystemDirectoryEntry): Promise<readonly FileSystemEntry[]> {
  const reader = directory.createReader();
  const all: FileSystemEntry[] = [];
  for (;;) {
    const reading = new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    const some = await readable(directory.name, reading, FolderError);
    if (some.length === 0) return all;
    all.push(...some);
  }
}
