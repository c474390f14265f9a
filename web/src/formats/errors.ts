/** A file that cannot be read: one line that says where, what was expected and what came. */
export class FormatError extends Error {}
