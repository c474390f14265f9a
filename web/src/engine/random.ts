/** Seeded uniform numbers for sampling (SplitMix32). The sequence is the same on every machine. */

export class UniformSource {
  #state: number;

  /** @param seed - any whole number; only its lower 32 bits count. */
  constructor(seed: number) {
    this.#state = Number(BigInt.asUintN(32, BigInt(seed)));
  }

  /** @returns the next number in [0, 1). It is a multiple of 2^-24, so float32 holds it exactly. */
  next(): number {
    this.#state = (this.#state + 0x9e3779b9) >>> 0;
    let bits = this.#state;
    bits = Math.imul(bits ^ (bits >>> 16), 0x21f0aaad);
    bits = Math.imul(bits ^ (bits >>> 15), 0x735a2d97);
    return ((bits ^ (bits >>> 15)) >>> 8) / 2 ** 24;
  }
}
