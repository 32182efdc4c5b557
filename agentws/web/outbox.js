/**
 * The outbox: user messages that are not known to be in the log (a retry queue). With a storage they survive a reload.
 * `delivery.js` sends them.
 *
 * @module
 */
import { defined, fromWire } from './wire.js';

const CAPACITY = 100;

/**
 * @typedef {import('./client.js').ChatError} ChatError
 * @typedef {import('./client.js').SendFrame} SendFrame
 * @typedef {Pick<globalThis.Storage, 'getItem' | 'setItem' | 'removeItem'>} Storage
 * @typedef {object} Entry
 * @property {SendFrame} frame
 * @property {'sending' | 'accepted' | 'failed'} status
 * @property {number} tries how often the server has refused it
 * @property {boolean} [sent] the server may have received it
 * @property {string} [position] its place in the log, once accepted
 * @property {ChatError} [error]
 */

export class Outbox {
  /** @type {readonly Entry[]} */
  #entries = [];
  /** @type {Storage | null} */
  #storage;
  /** @type {string | null} */
  #key = null;

  /** @param {Storage | null} storage */
  constructor(storage) {
    this.#storage = storage;
  }

  /**
   * Loads what an earlier page left unsent in `session`, and stores entries under that session from now on.
   * @param {string} session
   */
  attach(session) {
    const key = `agentws:outbox:${session}`;
    if (!this.#storage || key === this.#key) return;
    this.#key = key;
    const known = new Set(this.#entries.map(({ frame }) => frame.id));
    this.#change([
      ...this.#load(key).filter(({ frame }) => !known.has(frame.id)),
      ...this.#entries,
    ]);
  }

  get isEmpty() {
    return this.#entries.length === 0;
  }

  /** @returns {SendFrame[]} what to send on a new connection, in order */
  get unsent() {
    return this.#entries.filter(({ status }) => status !== 'failed').map(({ frame }) => frame);
  }

  /** @returns {Entry[]} what the server has not answered */
  get sending() {
    return this.#entries.filter(({ status }) => status === 'sending');
  }

  /** @returns {import('./client.js').ChatMessage[]} as messages of the conversation */
  get messages() {
    return this.#entries.map(({ frame: { id, content }, status, error }) => ({
      ...fromWire({ id, role: 'user', content }),
      status: status === 'failed' ? 'error' : 'sending',
      unsent: true,
      ...defined({ error }),
    }));
  }

  /** @param {string} id @returns {Entry | undefined} */
  find(id) {
    return this.#entries.find(({ frame }) => frame.id === id);
  }

  /** @param {SendFrame} frame @throws {RangeError} when the outbox is full */
  add(frame) {
    if (this.#entries.length >= CAPACITY)
      throw new RangeError(`too many unsent messages: the limit is ${CAPACITY}`);
    this.#change([...this.#entries, { frame, status: 'sending', tries: 0 }]);
  }

  /** @param {string} id @param {Partial<Entry>} change */
  update(id, change) {
    this.#change(
      this.#entries.map((entry) => (entry.frame.id === id ? { ...entry, ...change } : entry)),
    );
  }

  /** @param {string} id @param {ChatError} error */
  fail(id, error) {
    this.update(id, { status: 'failed', error });
  }

  /** Removes what `isKnown` finds in the log. @param {(entry: Entry) => boolean} isKnown */
  settle(isKnown) {
    const left = this.#entries.filter((entry) => !isKnown(entry));
    if (left.length < this.#entries.length) this.#change(left);
  }

  /** @param {string} id */
  discard(id) {
    this.settle(({ frame }) => frame.id === id);
  }

  /** @param {readonly Entry[]} entries */
  #change(entries) {
    this.#entries = entries;
    if (!this.#storage || this.#key === null) return;
    try {
      if (entries.length === 0) this.#storage.removeItem(this.#key);
      else this.#storage.setItem(this.#key, JSON.stringify(entries));
    } catch {
      // The storage is full or forbidden: entries then live as long as the page.
    }
  }

  /** @param {string} key @returns {Entry[]} */
  #load(key) {
    try {
      const entries = JSON.parse(this.#storage?.getItem(key) ?? '[]');
      return entries.filter(isEntry).map(restored);
    } catch {
      return [];
    }
  }
}

/** @param {any} entry what the storage returned, which may be anything */
function isEntry(entry) {
  const { id, content } = entry?.frame ?? {};
  return typeof id === 'string' && (typeof content === 'string' || isList(content));
}

/** @param {unknown} content @returns {boolean} whether it has parts */
function isList(content) {
  return Array.isArray(content) && content.every((part) => typeof part?.type === 'string');
}

/**
 * Without a position an entry waits until the log shows it, or it is accepted again; without an error it has not
 * failed.
 *
 * @param {Entry} entry
 */
function restored({ position, ...entry }) {
  const status = entry.status === 'failed' && !entry.error ? 'sending' : entry.status;
  const at = typeof position === 'string' && { position };
  return { ...entry, status, tries: entry.tries ?? 0, ...at };
}
