/**
 * The commands of the server, requested when the first slash is typed: most conversations never need them.
 *
 * @module
 */

/** @typedef {{name: string, summary: string}} Command */

export class Commands {
  #request;
  /** @type {readonly Command[]} */
  #known = [];
  #requested = false;

  /** @param {() => Promise<unknown>} request */
  constructor(request) {
    this.#request = request;
  }

  /** @param {import('../client.js').ChatSnapshot} snapshot @returns {readonly Command[]} */
  known({ connection }) {
    if (!this.#requested && connection === 'open') {
      this.#requested = true;
      this.#request().catch(() => (this.#requested = false));
    }
    return this.#known;
  }

  /** @param {import('../client.js').ChatSnapshot} snapshot @returns {boolean} whether the answer has arrived */
  note({ notices }) {
    const answer = notices.findLast(({ metadata }) => Array.isArray(metadata?.commands));
    const commands = answer?.metadata?.commands;
    if (!commands || commands === this.#known) return false;
    this.#known = /** @type {any} */ (commands);
    return true;
  }

  clear() {
    this.#known = [];
    this.#requested = false;
  }
}
