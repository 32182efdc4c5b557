/**
 * Delivery: sends frames and handles their answers, over as many connections as it takes.
 *
 * A message of the outbox is sent in order, once on a connection, and again on the next one until the server has
 * accepted it. Its id is its idempotency key, so sending it twice is safe. A request has a caller who awaits the
 * answer. A request that may have run and is not safe to repeat fails when the connection is lost.
 *
 * @module
 */
import { retryDelay } from './backoff.js';
import { encode } from './encoding.js';
import { CONNECTION_LOST, RequestError, failure } from './errors.js';

/**
 * @typedef {import('./client.js').Accepted} Accepted
 * @typedef {import('./client.js').ChatError} ChatError
 * @typedef {import('./client.js').SendFrame} SendFrame
 * @typedef {ChatError & {reply: string, retryAfter?: number}} Refusal
 * @typedef {object} Request
 * @property {{id: string}} frame
 * @property {boolean} repeatable whether it is safe to send it twice
 * @property {(accepted: Accepted) => void} resolve
 * @property {(error: Error) => void} reject
 */

const TRIES = 8;
const PAUSE = 1_000;
/** Refusals that depend on the session's state: not retried here, since the sender decides whether to wait. */
const SENDERS_CHOICE = new Set(['run_active', 'queue_full']);
/** Refusals that the server gives before it does anything. */
const UNTOUCHED = new Set(['too_many', 'unavailable', 'storage_full', 'draining']);
const CLOSED = failure('closed', 'The connection is closed.', true);

export class Delivery {
  #outbox;
  #send;
  #clock;
  #random;
  #limit = Infinity;
  /** @type {Map<string, Request>} unanswered requests by id */
  #requests = new Map();
  /** @type {Set<string>} ids of frames that went out on this connection and were not refused on it */
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

  /** After a handshake: unanswered frames are sent again, or fail. @param {number} [limit] bytes */
  begin(limit = Infinity) {
    this.#limit = limit;
    for (const { frame, sent } of this.#outbox.sending) {
      if (sent && isCommand(frame)) this.#outbox.fail(frame.id, CONNECTION_LOST);
    }
    for (const [id, { repeatable }] of this.#requests) {
      if (!repeatable && this.#offered.has(id)) this.#reject(id, CONNECTION_LOST);
    }
    this.#reset();
  }

  /** The connection is closed: messages stay in the outbox, requests fail. */
  end() {
    for (const id of [...this.#requests.keys()]) this.#reject(id, CLOSED);
    this.#reset();
  }

  #reset() {
    this.#offered.clear();
    this.#clock.clearTimeout(this.#pause);
    this.#pause = null;
  }

  /**
   * @param {{id: string}} frame
   * @param {boolean} repeatable whether it is safe to send it twice
   * @returns {Promise<Accepted>} rejects with `RequestError`
   */
  request(frame, repeatable) {
    const reply = new Promise((resolve, reject) => {
      this.#requests.set(frame.id, { frame, repeatable, resolve, reject });
    });
    this.#offer(frame);
    // A caller may ignore the answer: its rejection is then not reported as unhandled.
    reply.catch(() => {});
    return reply;
  }

  /** Sends the frames that have not gone out on this connection. */
  flush() {
    if (this.#pause === null) this.#flushOutbox();
    for (const { frame } of this.#requests.values()) this.#offer(frame);
  }

  #flushOutbox() {
    for (const frame of this.#outbox.unsent) {
      if (this.#offered.has(frame.id)) continue;
      if (!this.#fits(frame))
        this.#tooLarge(frame, `This message is too long: the limit is ${this.#limit} bytes.`);
      else if (!this.#offer(frame)) return;
      else if (!this.#outbox.find(frame.id)?.sent) this.#outbox.update(frame.id, { sent: true });
    }
  }

  /** @param {{id: string}} frame @returns {boolean} whether it has gone out on this connection */
  #offer(frame) {
    if (!this.#offered.has(frame.id) && this.#send(frame)) this.#offered.add(frame.id);
    return this.#offered.has(frame.id);
  }

  /** @param {SendFrame} frame */
  #fits(frame) {
    const text = encode(frame);
    // A UTF-16 unit takes at most three bytes, so only a text near the limit has to be measured.
    return text.length * 3 <= this.#limit || new TextEncoder().encode(text).length <= this.#limit;
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

  /** @param {Accepted} accepted */
  accepted(accepted) {
    const { reply, position } = accepted;
    const entry = this.#outbox.find(reply);
    // A command leaves no message in the log to wait for.
    if (entry && isCommand(entry.frame)) this.#outbox.discard(reply);
    else if (entry) this.#outbox.update(reply, { status: 'accepted', position, error: undefined });
    this.#close(reply)?.resolve(accepted);
  }

  /** Sends a message again that had failed. @param {string} id */
  retry(id) {
    this.#outbox.update(id, { status: 'sending', error: undefined, tries: 0, sent: false });
    this.flush();
  }

  /**
   * The server refused a frame, for now or for good.
   * @param {Refusal} refusal
   * @returns {boolean} whether the frame is known
   */
  refused(refusal) {
    const entry = this.#outbox.find(refusal.reply);
    if (this.#reject(refusal.reply, refusal)) return true;
    if (entry) this.#messageRefused(entry, refusal);
    return entry !== undefined;
  }

  /** @param {import('./outbox.js').Entry} entry @param {Refusal} refusal */
  #messageRefused({ frame, tries }, { code = '', message, retryable, retryAfter = 0 }) {
    this.#offered.delete(frame.id);
    const untouched = UNTOUCHED.has(code);
    const repeatable = !SENDERS_CHOICE.has(code) && (untouched || !isCommand(frame));
    tries += 1;
    this.#outbox.update(frame.id, { tries });
    if (!retryable || tries >= TRIES || !repeatable)
      return this.#outbox.fail(frame.id, { code, message, retryable });
    if (untouched) this.#outbox.update(frame.id, { sent: false });
    this.#pauseFor(retryDelay(tries, this.#random, { base: PAUSE, atLeast: retryAfter * 1000 }));
  }

  /** @param {string} id @param {ChatError} error @returns {boolean} whether there was such a request */
  #reject(id, error) {
    const request = this.#close(id);
    request?.reject(new RequestError(error));
    return request !== undefined;
  }

  /** @param {string} id */
  #close(id) {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    return request;
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
