/** Seeded uniform numbers for sampling (SplitMix32). The sequence is the same on every machine. */

/** What SplitMix32 adds to its state for each number. */
const STEP = 0x9e3779b9;

export class UniformSource {
  #state: number;
  #drawn: number;

  /**
   * @param seed - any whole number; only its lower 32 bits count.
   * @param drawn - how many numbers of the sequence others have drawn already.
   */
  constructor(seed: number, drawn = 0) {
    this.#state = Number(BigInt.asUintN(32, BigInt(seed) + BigInt(drawn) * BigInt(STEP)));
    this.#drawn = drawn;
  }

  /** How many numbers of the sequence have been drawn. */
  get drawn(): number {
    return this.#drawn;
  }

  /** @returns the next number in [0, 1). It is a multiple of 2^-24, so float32 holds it exactly. */
  next(): number {
    this.#drawn += 1;
    this.#state = (this.#state + STEP) >>> 0;
    let bits = this.#state;
    bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
    return ((bits ^ (bits >>> 15)) >>> 8) / 2 ** 24;
  }
}
