/**
 * Sends the outbox: in order, each message once on a connection, and again on the next one until the server
 * has accepted it. The message's id is its idempotency key, so sending it twice is safe. A command that may
 * have run is not sent again.
 *
 * @module
 */
import { retryDelay } from './backoff.js';
import { encode } from './encoding.js';
import { CONNECTION_LOST, failure } from './errors.js';

/**
 * @typedef {import('./client.js').SendFrame} SendFrame
 * @typedef {import('./client.js').ChatError & {reply: string, retryAfter?: number}} Refusal
 */

const TRIES = 8;
const PAUSE = 1_000;
/** Refusals that depend on the session's state: whoever sent the message decides whether to wait. */
const SENDERS_CHOICE = new Set(['run_active', 'queue_full']);
/** Refusals that the server gives before it does anything. */
const UNTOUCHED = new Set(['too_many', 'unavailable', 'storage_full', 'draining']);

export class Delivery {
  #outbox;
  #send;
  #clock;
  #random;
  #limit = Infinity;
  /** @type {Set<string>} ids that went out on this connection and were not refused on it */
  #offered = new Set();
  /** @type {unknown} the timer that ends a pause */
  #pause = null;
  #pausedUntil = 0;

  /**
   * @param {import('./outbox.js').Outbox} outbox
   * @param {(frame: object) => boolean} send returns whether the frame went out
   * @param {{clock: import('./client.js').Clock, random: () => number}} settings
   */
  constructor(outbox, send, { clock, random }) {
    this.#outbox = outbox;
    this.#send = send;
    this.#clock = clock;
    this.#random = random;
  }

  /** After a handshake: everything unanswered is to be sent again, except commands. @param {number} [limit] bytes */
  begin(limit = Infinity) {
    this.#limit = limit;
    this.end();
    for (const { frame, sent } of this.#outbox.sending) {
      if (sent && isCommand(frame)) this.#outbox.fail(frame.id, CONNECTION_LOST);
    }
  }

  /** The connection has ended. */
  end() {
    this.#offered.clear();
    this.#clock.clearTimeout(this.#pause);
    this.#pause = null;
  }

  /** Sends what has not gone out on this connection. */
  flush() {
    if (this.#pause !== null) return;
    for (const frame of this.#outbox.unsent) {
      if (this.#offered.has(frame.id)) continue;
      if (!this.#fits(frame))
        this.#tooLarge(frame, `This message is too long: the limit is ${this.#limit} bytes.`);
      else if (this.#send(frame)) this.#wentOut(frame.id);
      else return;
    }
  }

  /** The server closed the connection because of a message's size: sending it again would repeat that. */
  tooLargeForServer() {
    for (const { frame } of this.#outbox.sending)
      this.#tooLarge(frame, 'The server refused this message as too large.');
  }

  /** @param {SendFrame} frame @param {string} message */
  #tooLarge({ id }, message) {
    this.#outbox.fail(id, failure('too_large', message));
  }

  /** @param {SendFrame} frame */
  #fits(frame) {
    const text = encode(frame);
    // A UTF-16 unit takes at most three bytes, so only a text near the limit has to be measured.
    return text.length * 3 <= this.#limit || new TextEncoder().encode(text).length <= this.#limit;
  }

  /** @param {string} id */
  #wentOut(id) {
    this.#offered.add(id);
    if (!this.#outbox.find(id)?.sent) this.#outbox.update(id, { sent: true });
  }

  /** @param {string} id @param {string} position its place in the log */
  accepted(id, position) {
    const entry = this.#outbox.find(id);
    // A command leaves no message in the log to wait for.
    if (entry && isCommand(entry.frame)) this.#outbox.discard(id);
    else this.#outbox.update(id, { status: 'accepted', position, error: undefined });
  }

  /** Sends a message again that had failed. @param {string} id */
  retry(id) {
    this.#outbox.update(id, { status: 'sending', error: undefined, tries: 0, sent: false });
    this.flush();
  }

  /** The server refused a message, for now or for good. @param {Refusal} refusal */
  refused({ reply, code = '', message, retryable, retryAfter = 0 }) {
    const entry = this.#outbox.find(reply);
    if (!entry) return;
    this.#offered.delete(reply);
    const untouched = UNTOUCHED.has(code);
    const repeatable = !SENDERS_CHOICE.has(code) && (untouched || !isCommand(entry.frame));
    const tries = entry.tries + 1;
    this.#outbox.update(reply, { tries });
    if (!retryable || tries >= TRIES || !repeatable)
      return this.#outbox.fail(reply, { code, message, retryable });
    if (untouched) this.#outbox.update(reply, { sent: false });
    this.#pauseFor(retryDelay(tries, this.#random, { base: PAUSE, atLeast: retryAfter * 1000 }));
  }

  /** Pauses: a refused message is to arrive before those after it. @param {number} delay milliseconds */
  #pauseFor(delay) {
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

/**
 * Whether the gateway itself carries this out, instead of making it a message of the log.
 * @param {SendFrame} frame
 */
function isCommand({ content }) {
  return typeof content === 'string' && (/^\/(?!\/)/.test(content) || content.trim() === 'ping');
}
