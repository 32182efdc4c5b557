/**
 * What was sent and is not known to be in the log yet. An entry is sent again after every drop until
 * the server has accepted it; its id makes that harmless. With a storage it survives a reload too.
 *
 * @module
 */
import { defined, textOf } from './wire.js';

const CAPACITY = 100;

/**
 * @typedef {import('./client.js').ChatError} ChatError
 * @typedef {import('./client.js').SendFrame} SendFrame
 * @typedef {Pick<globalThis.Storage, 'getItem' | 'setItem' | 'removeItem'>} Storage
 * @typedef {{frame: SendFrame, status: 'sending' | 'accepted' | 'failed', position?: string, error?: ChatError, tries: number, sent?: boolean}} Entry
 * `sent`: it went out at some time, so the server may know of it.
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
   * Takes up what an earlier page left unsent in `session`; from now on entries are kept under it.
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

  /** @returns {SendFrame[]} what to send on a new connection, in order */
  get unsent() {
    return this.#entries.filter(({ status }) => status !== 'failed').map(({ frame }) => frame);
  }

  /** @returns {Entry[]} what no answer has come to yet */
  get sending() {
    return this.#entries.filter(({ status }) => status === 'sending');
  }

  /** @returns {import('./client.js').ChatMessage[]} as a person sees them */
  get messages() {
    return this.#entries.map(({ frame, status, error }) => ({
      id: frame.id,
      role: 'user',
      text: textOf(frame.content),
      status: status === 'failed' ? 'error' : 'sending',
      unsent: true,
      ...defined({ error, content: typeof frame.content === 'string' ? undefined : frame.content }),
    }));
  }

  /** @param {string} id @returns {Entry | undefined} */
  find(id) {
    return this.#entries.find(({ frame }) => frame.id === id);
  }

  /** @param {SendFrame} frame @throws {RangeError} when too much is waiting already */
  add(frame) {
    if (this.#entries.length >= CAPACITY) throw new RangeError('too many unsent messages');
    this.#change([...this.#entries, { frame, status: 'sending', tries: 0 }]);
  }

  /** @param {string} id @param {string} position where it stands in the log */
  accept(id, position) {
    const entry = this.find(id);
    // A command leaves nothing in the log to wait for.
    if (entry && isCommand(entry.frame)) return this.discard(id);
    this.#update(id, { status: 'accepted', position, error: undefined });
  }

  /** @param {string} id @param {ChatError} error */
  fail(id, error) {
    this.#update(id, { status: 'failed', error });
  }

  /** @param {ChatError} error */
  failUnaccepted(error) {
    for (const { frame } of this.sending) this.fail(frame.id, error);
  }

  /** @param {string} id it is to go out again, as if for the first time */
  retry(id) {
    this.#update(id, { status: 'sending', error: undefined, tries: 0, sent: false });
  }

  /** @param {string} id */
  noteSent(id) {
    if (!this.find(id)?.sent) this.#update(id, { sent: true });
  }

  /** @param {string} id the server has it no more than before it went out */
  noteUntouched(id) {
    this.#update(id, { sent: false });
  }

  /** @param {string} id @returns {number} how often it was refused by now */
  countTry(id) {
    const tries = (this.find(id)?.tries ?? 0) + 1;
    this.#update(id, { tries });
    return tries;
  }

  /** Forgets what `isKnown` says the log holds. @param {(entry: Entry) => boolean} isKnown */
  settle(isKnown) {
    const left = this.#entries.filter((entry) => !isKnown(entry));
    if (left.length < this.#entries.length) this.#change(left);
  }

  /** @param {string} id */
  discard(id) {
    this.settle(({ frame }) => frame.id === id);
  }

  /** @param {string} id @param {Partial<Entry>} change */
  #update(id, change) {
    this.#change(
      this.#entries.map((entry) => (entry.frame.id === id ? { ...entry, ...change } : entry)),
    );
  }

  /** @param {readonly Entry[]} entries */
  #change(entries) {
    this.#entries = entries;
    if (!this.#storage || this.#key === null) return;
    try {
      if (entries.length === 0) this.#storage.removeItem(this.#key);
      else this.#storage.setItem(this.#key, JSON.stringify(entries));
    } catch {
      // Full, or forbidden here: then entries live as long as the page.
    }
  }

  /** @param {string} key @returns {Entry[]} */
  #load(key) {
    try {
      const entries = JSON.parse(this.#storage?.getItem(key) ?? '[]');
      return entries.filter(isEntry).map(withReadablePosition);
    } catch {
      return [];
    }
  }
}

/** @param {any} entry whatever a storage gave back */
function isEntry(entry) {
  const { id, content } = entry?.frame ?? {};
  return typeof id === 'string' && (typeof content === 'string' || Array.isArray(content));
}

/** Without its place an entry waits until it is seen, or accepted again. @param {Entry} entry */
function withReadablePosition({ position, ...entry }) {
  return typeof position === 'string' ? { ...entry, position } : entry;
}

/**
 * Whether this is carried out by the gateway itself instead of becoming a message.
 * @param {SendFrame} frame
 */
export function isCommand({ content }) {
  return typeof content === 'string' && (/^\/(?!\/)/.test(content) || content.trim() === 'ping');
}

/** @param {string} message @returns {ChatError} */
export function tooLarge(message) {
  return { code: 'too_large', message, retryable: false };
}
