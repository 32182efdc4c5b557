/**
 * A connection that reconnects: opens a WebSocket, detects a half-open one by heartbeat, and opens the next
 * one with backoff. It knows nothing of messages or logs; it passes every frame on.
 *
 * @module
 */
import { retryDelay } from './backoff.js';
import { decode, encode } from './encoding.js';
import { errorCode, failure, isBusy, isFatal } from './errors.js';
import { BadAddress, openSocket } from './opening.js';

/** The handshake timeout: milliseconds from an attempt's beginning to its `welcome`. */
const HANDSHAKE_TIMEOUT = 10_000;
/** The heartbeat timeout: milliseconds from a ping to any frame. */
const PING_TIMEOUT = 3_000;
/** A connection that lasted this many milliseconds resets the backoff. */
const STABLE_AFTER = 10_000;
/** Seconds without a frame until a ping, if the server names no heartbeat. */
const HEARTBEAT = 25;
/** A close belongs to the error before it if it follows within this many milliseconds. */
const CLOSE_FOLLOWS = 1_000;

/**
 * @typedef {import('./client.js').ChatError} ChatError
 * @typedef {'connecting' | 'open' | 'waiting' | 'suspended' | 'closed'} Phase
 */

/**
 * @typedef {object} Settings
 * @property {() => string | Promise<string>} url called for every attempt
 * @property {(() => string | null | undefined | Promise<string | null | undefined>) | undefined} getToken called for every attempt
 * @property {(frames: any[]) => void} receive called before `change` reports what the frames changed
 * @property {(code: number) => void} dropped called when the server or the network closed the socket
 * @property {() => void} change called after every change of `state`
 * @property {new (url: string, protocols: string[]) => WebSocket} WebSocket
 * @property {import('./client.js').Clock} clock
 * @property {() => number} random
 * @property {import('./client.js').Signals} signals
 */

export class Connection {
  /** @type {Phase} */
  #phase = 'closed';
  /** @type {Settings} */
  #settings;
  /** @type {WebSocket | null} events of any other socket are ignored: a replaced one may still deliver */
  #socket = null;
  /** Counts sockets: an attempt that finds another number after an await has been replaced. */
  #generation = 0;
  #attempt = 0;
  #wasOpen = false;
  #offline = false;
  #heartbeat = HEARTBEAT;
  #openedAt = 0;
  #receivedAt = 0;
  /** @type {number | null} */
  #retryAt = null;
  /** @type {ChatError | null} */
  #error = null;
  /** @type {{retryable: boolean, retryAfter?: number, error: ChatError} | null} why the server is about to close */
  #reason = null;
  /** @type {Map<string, unknown>} */
  #timers = new Map();
  /** @type {(() => void)[]} remove the listeners on the page */
  #unlisten = [];

  /** @param {Settings} settings */
  constructor(settings) {
    this.#settings = settings;
  }

  /**
   * @returns {{connection: import('./client.js').ConnectionState, attempt: number, retryAt: number | null, error: ChatError | null}}
   */
  get state() {
    return {
      connection: this.#label(),
      attempt: this.#attempt,
      retryAt: this.#retryAt,
      error: this.#error,
    };
  }

  #label() {
    if (this.#phase === 'closed') return 'closed';
    if (this.#offline) return 'offline';
    if (this.#phase === 'open') return 'open';
    return this.#wasOpen || this.#attempt > 0 ? 'reconnecting' : 'connecting';
  }

  /** Connects, also after a close; does nothing while it is open or reconnecting. */
  start() {
    if (this.#phase !== 'closed') return;
    this.#listen();
    this.#attempt = 0;
    this.#error = null;
    this.#connect();
  }

  /** Replaces the socket at once. */
  restart() {
    if (this.#phase === 'closed') return this.start();
    this.#connect();
  }

  /** Closes, until `start`. @param {ChatError | null} [error] */
  close(error = null) {
    this.#unlisten.splice(0).forEach((off) => off());
    this.#drop();
    this.#error = error;
    this.#setPhase('closed');
  }

  /**
   * @param {object} frame
   * @returns {boolean} whether it went out: while offline it does not, since the socket is probably half-open
   */
  send(frame) {
    return !this.#offline && this.#transmit(frame);
  }

  /** @param {object} frame @returns {boolean} */
  #transmit(frame) {
    if (this.#phase !== 'open' || !this.#socket) return false;
    this.#socket.send(encode(frame));
    return true;
  }

  async #connect() {
    // This cancels the retry timer too, which would make a second attempt.
    this.#drop();
    const generation = this.#generation;
    this.#after('handshake', HANDSHAKE_TIMEOUT, () => this.#lost());
    this.#setPhase('connecting');
    const { url, getToken, WebSocket } = this.#settings;
    try {
      const [address, token] = await Promise.all([url(), getToken?.()]);
      if (generation !== this.#generation) return;
      this.#listenTo(openSocket(WebSocket, address, token));
    } catch (error) {
      if (generation !== this.#generation) return;
      // `url` or `getToken` failed, which may be temporary.
      if (error instanceof BadAddress) this.close(failure('bad_url', error.message));
      else this.#lost();
    }
  }

  /** @param {WebSocket} socket */
  #listenTo(socket) {
    this.#socket = socket;
    this.#reason = null;
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#receive(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(code, reason);
    };
    // A close event always follows, with the code.
    socket.onerror = () => {};
  }

  /** @param {unknown} data */
  #receive(data) {
    const frames = decode(data);
    if (frames === null) return;
    this.#receivedAt = this.#settings.clock.now();
    this.#cancel('ping');
    const before = this.#label();
    for (const frame of frames) this.#inspect(frame);
    // A frame arrived, so the browser is wrong about the network.
    this.#offline = false;
    // First sends what has waited for the connection: a listener of `change` may send more.
    this.#settings.receive(frames);
    if (this.#label() !== before) this.#settings.change();
  }

  /** Handles what a frame says about the connection itself. @param {any} frame */
  #inspect(frame) {
    const isError = frame.type === 'error' && frame.reply === undefined;
    this.#reason = isError || frame.type === 'bye' ? reasonOf(frame) : null;
    if (isError) this.#after('reason', CLOSE_FOLLOWS, () => (this.#reason = null));
    else this.#cancel('reason');
    if (frame.type === 'welcome') this.#welcomed(frame);
  }

  /** @param {any} welcome */
  #welcomed(welcome) {
    this.#cancel('handshake');
    this.#heartbeat = (welcome.heartbeat ?? HEARTBEAT) * 1000;
    this.#openedAt = this.#settings.clock.now();
    this.#wasOpen = true;
    this.#error = null;
    this.#watchHeartbeat(this.#heartbeat);
    this.#phase = 'open';
  }

  /** One timer that checks the last frame's time, instead of one reset by every frame. @param {number} delay */
  #watchHeartbeat(delay) {
    this.#after('heartbeat', delay, () => {
      // Somebody may set the clock back: then a ping is due.
      const idle = Math.abs(this.#settings.clock.now() - this.#receivedAt);
      if (idle >= this.#heartbeat) this.#ping();
      this.#watchHeartbeat(idle >= this.#heartbeat ? this.#heartbeat : this.#heartbeat - idle);
    });
  }

  /** A socket on which no frame arrives in time is half-open, even if its `readyState` is open. */
  #ping() {
    if (this.#timers.has('ping') || !this.#transmit({ type: 'ping' })) return;
    this.#after('ping', PING_TIMEOUT, () => this.#lost());
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    const announced = this.#reason;
    const expired =
      code === 4401 && this.#phase === 'open' && this.#settings.getToken !== undefined;
    // A token that was valid has expired: the next attempt asks for a new one.
    const retry = expired || (announced ? announced.retryable : !isFatal(code));
    const message = reason || `The server closed the connection (${code}).`;
    if (!retry) return this.close(announced?.error ?? failure(errorCode(code), message));
    if (announced) this.#error = announced.error;
    this.#settings.dropped(code);
    this.#lost(isBusy(code), announced?.retryAfter);
  }

  /** Schedules the next attempt. @param {boolean} [busy] @param {number} [retryAfter] seconds */
  #lost(busy = false, retryAfter = 0) {
    const { clock, random } = this.#settings;
    if (this.#phase === 'open' && clock.now() - this.#openedAt >= STABLE_AFTER) this.#attempt = 0;
    this.#drop();
    const count = busy || this.#offline ? this.#attempt + 1 : this.#attempt;
    const delay = retryDelay(count, random, { atLeast: retryAfter * 1000 });
    this.#attempt += 1;
    this.#retryAt = clock.now() + delay;
    this.#after('retry', delay, () => this.#connect());
    this.#setPhase('waiting');
  }

  /** Closes the socket, if there is one, and cancels every timer. */
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.#generation += 1;
    this.#retryAt = null;
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    if (socket && socket.readyState < 2) socket.close(1000);
  }

  /** @param {string} name @param {number} delay @param {() => void} act */
  #after(name, delay, act) {
    this.#cancel(name);
    const timer = this.#settings.clock.setTimeout(() => {
      this.#timers.delete(name);
      act();
    }, delay);
    this.#timers.set(name, timer);
  }

  /** @param {string} name */
  #cancel(name) {
    if (!this.#timers.has(name)) return;
    this.#settings.clock.clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  /** @param {Phase} phase */
  #setPhase(phase) {
    this.#phase = phase;
    this.#settings.change();
  }

  /** @param {boolean} offline */
  #setOffline(offline) {
    if (offline === this.#offline) return;
    this.#offline = offline;
    this.#settings.change();
  }

  #listen() {
    const { window, document } = this.#settings.signals;
    this.#on(window, 'offline', () => this.#wentOffline());
    this.#on(window, 'online', () => this.#cameBack());
    this.#on(document, 'visibilitychange', () => {
      if (document && !document.hidden) this.#hurry();
    });
    for (const [target, away, back] of /** @type {const} */ ([
      [window, 'pagehide', 'pageshow'],
      [document, 'freeze', 'resume'],
    ])) {
      this.#on(target, away, () => this.#suspend());
      this.#on(target, back, () => this.#resume());
    }
  }

  /** @param {EventTarget | undefined} target @param {string} type @param {() => void} act */
  #on(target, type, act) {
    if (!target) return;
    target.addEventListener(type, act);
    this.#unlisten.push(() => target.removeEventListener(type, act));
  }

  /** The browser may be wrong (the server may be on this machine), so the socket gets a ping, not a close. */
  #wentOffline() {
    this.#setOffline(true);
    this.#ping();
  }

  #cameBack() {
    this.#setOffline(false);
    this.#attempt = 0;
    this.#hurry();
  }

  /** Connects without waiting for the backoff, unless the server has set the delay. */
  #hurry() {
    if (this.#phase === 'waiting' && this.#reason?.retryAfter === undefined) this.#connect();
    else this.#ping();
  }

  /** An open socket would keep the page out of the back-forward cache. */
  #suspend() {
    if (this.#phase === 'suspended' || this.#phase === 'closed') return;
    this.#drop();
    this.#setPhase('suspended');
  }

  #resume() {
    if (this.#phase !== 'suspended') return;
    this.#attempt = 0;
    this.#connect();
  }
}

/** @param {any} frame a `bye`, or an `error` about the connection */
function reasonOf({ code, reason, message, retryable, retryAfter }) {
  const text = message ?? `The server closed the connection (${reason ?? code}).`;
  return { retryable, retryAfter, error: failure(reason ?? errorCode(code), text, retryable) };
}
