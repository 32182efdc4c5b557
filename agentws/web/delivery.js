/**
 * How the outbox gets to the server: in order, each entry once on a connection, and all of it later
 * where the server says "not now". A message may be sent twice, for its id makes that harmless; a
 * command that may have run is not.
 *
 * @module
 */
import { retryDelay } from './backoff.js';
import { encode } from './encoding.js';
import { isCommand, tooLarge } from './outbox.js';

/**
 * @typedef {import('./client.js').SendFrame} SendFrame
 * @typedef {import('./client.js').ChatError & {reply: string, retryAfter?: number}} Refusal
 */

const TRIES = 8;
const PAUSE = 1_000;
/** Refusals that say how things stand in the session: to wait or to give up is the sender's choice. */
const SENDERS_CHOICE = new Set(['run_active', 'queue_full']);
/** Refusals of what has not begun. */
const UNTOUCHED = new Set(['too_many', 'unavailable', 'storage_full', 'draining']);
const LOST = {
  code: 'connection_lost',
  message: 'The connection was lost before this was answered.',
  retryable: true,
};

export class Delivery {
  #outbox;
  #send;
  #clock;
  #random;
  #limit = Infinity;
  /** @type {Set<string>} what went out on this connection and was not refused on it */
  #offered = new Set();
  /** @type {unknown} the timer that ends a pause */
  #pause = null;
  #pausedUntil = 0;

  /**
   * @param {import('./outbox.js').Outbox} outbox
   * @param {(frame: object) => boolean} send says whether the frame went out
   * @param {{clock: import('./client.js').Clock, random: () => number}} settings
   */
  constructor(outbox, send, { clock, random }) {
    this.#outbox = outbox;
    this.#send = send;
    this.#clock = clock;
    this.#random = random;
  }

  /** A new connection: what the last one left unanswered is to go out again. @param {number} [limit] bytes */
  begin(limit = Infinity) {
    this.#limit = limit;
    this.end();
    for (const { frame, sent } of this.#outbox.sending) {
      if (sent && isCommand(frame)) this.#outbox.fail(frame.id, LOST);
    }
  }

  /** No connection will follow for now. */
  end() {
    this.#offered.clear();
    this.#clock.clearTimeout(this.#pause);
    this.#pause = null;
  }

  /** Sends what is not on its way yet. */
  flush() {
    if (this.#pause !== null) return;
    for (const frame of this.#outbox.unsent) {
      if (this.#offered.has(frame.id)) continue;
      if (!this.#fits(frame)) this.#outbox.fail(frame.id, tooLong(this.#limit));
      else if (this.#send(frame)) this.#wentOut(frame.id);
      else return;
    }
  }

  /** @param {SendFrame} frame */
  #fits(frame) {
    const text = encode(frame);
    // Three bytes at most for a UTF-16 unit: only a text near the limit is worth measuring.
    return text.length * 3 <= this.#limit || new TextEncoder().encode(text).length <= this.#limit;
  }

  /** @param {string} id */
  #wentOut(id) {
    this.#offered.add(id);
    this.#outbox.noteSent(id);
  }

  /** An entry was refused, for now or for good. @param {Refusal} refusal */
  refused({ reply, code = '', message, retryable, retryAfter = 0 }) {
    this.#offered.delete(reply);
    const tries = this.#outbox.countTry(reply);
    if (!retryable || tries >= TRIES || !this.#mayRepeat(reply, code)) {
      return this.#outbox.fail(reply, { code, message, retryable });
    }
    if (UNTOUCHED.has(code)) this.#outbox.noteUntouched(reply);
    this.#rest(retryDelay(tries, this.#random, { base: PAUSE, atLeast: retryAfter * 1000 }));
  }

  /** @param {string} id @param {string} code */
  #mayRepeat(id, code) {
    const entry = this.#outbox.find(id);
    const harmless = entry !== undefined && (!isCommand(entry.frame) || UNTOUCHED.has(code));
    return harmless && !SENDERS_CHOICE.has(code);
  }

  /** Nothing goes out meanwhile: what was said first is to arrive first. @param {number} delay */
  #rest(delay) {
    const end = this.#clock.now() + delay;
    if (this.#pause !== null && end <= this.#pausedUntil) return;
    this.#clock.clearTimeout(this.#pause);
    this.#pausedUntil = end;
    this.#pause = this.#clock.setTimeout(() => {
      this.#pause = null;
      this.flush();
    }, delay);
  }
}

/** @param {number} limit bytes */
function tooLong(limit) {
  return tooLarge(`This message is too long: ${limit} bytes are the most.`);
}
