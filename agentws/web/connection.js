/**
 * One socket after another to one address: opening, noticing that it is dead, and trying again.
 * It knows nothing of messages or logs; it hands every frame on.
 *
 * @module
 */
import { BadAddress, openSocket } from './address.js';
import { retryDelay } from './backoff.js';
import { isBusy, isFatal, nameOf } from './closing.js';
import { decode, encode } from './encoding.js';

const PROTOCOL = 'agentws.v1';
const OPENING = 10_000;
const ANSWER = 3_000;
const STABLE = 10_000;
const HEARTBEAT = 25;
/** How soon a close follows the error that it is about. */
const SOON = 1_000;

/**
 * @typedef {import('./client.js').ChatError} ChatError
 * @typedef {'idle' | 'connecting' | 'open' | 'waiting' | 'suspended' | 'closed'} Phase
 */

/**
 * @typedef {object} Settings
 * @property {() => string | Promise<string>} url asked anew for every attempt
 * @property {(() => string | null | undefined | Promise<string | null | undefined>) | undefined} getToken likewise
 * @property {(frames: any[]) => void} receive called before `change` tells of what the frames changed
 * @property {(code: number) => void} dropped called when the server or the network closed a socket
 * @property {() => void} change called after every change of `state`
 * @property {new (url: string, protocols: string[]) => WebSocket} WebSocket
 * @property {import('./client.js').Clock} clock
 * @property {() => number} random
 * @property {import('./client.js').Signals} signals
 */

export class Connection {
  /** @type {Phase} */
  #phase = 'idle';
  /** @type {Settings} */
  #settings;
  /**
   * @type {WebSocket | null} The only socket that is listened to: a replaced one may still deliver.
   */
  #socket = null;
  #turn = 0;
  #attempt = 0;
  #wasOpen = false;
  #offline = false;
  #heartbeat = HEARTBEAT;
  #openedAt = 0;
  #heardAt = 0;
  /** @type {number | null} */
  #retryAt = null;
  /** @type {ChatError | null} */
  #error = null;
  /**
   * @type {{retryable: boolean, retryAfter?: number, error: ChatError} | null} what the server said of the coming close
   */
  #verdict = null;
  /** @type {Map<string, unknown>} */
  #timers = new Map();
  /** @type {(() => void)[]} */
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

  get isOpen() {
    return this.#phase === 'open';
  }

  #label() {
    if (this.#phase === 'closed' || this.#phase === 'idle') return 'closed';
    if (this.#offline) return 'offline';
    if (this.#phase === 'open') return 'open';
    return this.#wasOpen || this.#attempt > 0 ? 'reconnecting' : 'connecting';
  }

  /** Opens, or opens again after a close; without effect while it is open or on the way. */
  start() {
    if (this.#phase !== 'idle' && this.#phase !== 'closed') return;
    this.#listen();
    this.#attempt = 0;
    this.#error = null;
    this.#connect();
  }

  /** Drops the socket there is, and opens another at once. */
  restart() {
    if (this.#phase === 'idle' || this.#phase === 'closed') return this.start();
    this.#connect();
  }

  /** Ends it for good, until `start`. @param {ChatError | null} [error] */
  close(error = null) {
    this.#unlisten.splice(0).forEach((off) => off());
    this.#drop(1000);
    this.#error = error;
    this.#enter('closed');
  }

  /**
   * @param {object} frame
   * @returns {boolean} whether it went out; not into a socket that is likely to be dead
   */
  send(frame) {
    return !this.#offline && this.#put(frame);
  }

  /** @param {object} frame @returns {boolean} */
  #put(frame) {
    if (this.#phase !== 'open' || !this.#socket) return false;
    this.#socket.send(encode(frame));
    return true;
  }

  async #connect() {
    // Whoever calls may have come before a timer that would do the same.
    this.#drop(1000);
    const turn = this.#turn;
    this.#after('opening', OPENING, () => this.#lost());
    this.#enter('connecting');
    const { url, getToken, WebSocket } = this.#settings;
    try {
      const [address, token] = await Promise.all([url(), getToken?.()]);
      if (turn !== this.#turn) return;
      this.#follow(openSocket(WebSocket, address, protocols(token)));
    } catch (error) {
      if (turn !== this.#turn) return;
      // A token that can't be had now may come later.
      if (error instanceof BadAddress) this.close(failure('bad_url', error.message));
      else this.#lost();
    }
  }

  /** @param {WebSocket} socket */
  #follow(socket) {
    this.#socket = socket;
    this.#verdict = null;
    socket.onmessage = ({ data }) => {
      if (socket === this.#socket) this.#hear(data);
    };
    socket.onclose = ({ code, reason }) => {
      if (socket === this.#socket) this.#closed(code, reason);
    };
    // A close event always follows, and says more.
    socket.onerror = () => {};
  }

  /** @param {unknown} data */
  #hear(data) {
    const frames = decode(data);
    if (frames === null) return;
    this.#heardAt = this.#settings.clock.now();
    this.#cancel('answer');
    const before = this.#label();
    for (const frame of frames) this.#note(frame);
    // Something arrived, whatever the browser thinks of the network.
    this.#offline = false;
    // Whoever acts on being told that it is open comes after what has waited for that.
    this.#settings.receive(frames);
    if (this.#label() !== before) this.#settings.change();
  }

  /** @param {any} frame what it says of the connection itself */
  #note(frame) {
    const complaint = frame.type === 'error' && frame.reply === undefined;
    this.#verdict = complaint || frame.type === 'bye' ? verdict(frame) : null;
    if (complaint) this.#after('verdict', SOON, () => (this.#verdict = null));
    else this.#cancel('verdict');
    if (frame.type === 'welcome') this.#welcomed(frame);
  }

  /** @param {any} welcome */
  #welcomed(welcome) {
    this.#cancel('opening');
    this.#heartbeat = (welcome.heartbeat ?? HEARTBEAT) * 1000;
    this.#openedAt = this.#settings.clock.now();
    this.#wasOpen = true;
    this.#error = null;
    this.#watch(this.#heartbeat);
    this.#phase = 'open';
  }

  /** One timer that looks back, instead of one reset at every frame. @param {number} delay */
  #watch(delay) {
    this.#after('watch', delay, () => {
      const quiet = this.#settings.clock.now() - this.#heardAt;
      if (quiet >= this.#heartbeat) this.probe();
      this.#watch(quiet >= this.#heartbeat ? this.#heartbeat : this.#heartbeat - quiet);
    });
  }

  /**
   * Asks for a sign of life. A socket that gives none in time is dead, whatever its `readyState` says.
   */
  probe() {
    if (this.#timers.has('answer') || !this.#put({ type: 'ping' })) return;
    this.#after('answer', ANSWER, () => this.#lost());
  }

  /** @param {number} code @param {string} reason */
  #closed(code, reason) {
    const said = this.#verdict;
    const expired =
      code === 4401 && this.#phase === 'open' && this.#settings.getToken !== undefined;
    // Credentials that were good a moment ago have run out: the next attempt asks for fresh ones.
    const retry = expired || (said ? said.retryable : !isFatal(code));
    if (!retry)
      return this.close(
        said?.error ??
          failure(nameOf(code), reason || `The server closed the connection (${code}).`),
      );
    if (said?.error) this.#error = said.error;
    this.#settings.dropped(code);
    this.#lost(isBusy(code), said?.retryAfter);
  }

  /** @param {boolean} [busy] @param {number} [retryAfter] seconds */
  #lost(busy = false, retryAfter = 0) {
    const { clock, random } = this.#settings;
    if (this.#phase === 'open' && clock.now() - this.#openedAt >= STABLE) this.#attempt = 0;
    this.#drop(1000);
    const count = busy || this.#offline ? this.#attempt + 1 : this.#attempt;
    const delay = retryDelay(count, random, { atLeast: retryAfter * 1000 });
    this.#attempt += 1;
    this.#retryAt = clock.now() + delay;
    this.#after('retry', delay, () => this.#connect());
    this.#enter('waiting');
  }

  /**
   * Lets go of the socket and of every timer; what the socket still delivers is not listened to.
   * @param {number} code
   */
  #drop(code) {
    const socket = this.#socket;
    this.#socket = null;
    this.#turn += 1;
    this.#retryAt = null;
    for (const name of [...this.#timers.keys()]) this.#cancel(name);
    if (socket && socket.readyState < 2) socket.close(code);
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
  #enter(phase) {
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
      if (document && !document.hidden) this.#look();
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

  /**
   * The browser may be wrong (a server on this very machine), so the socket is asked, not dropped.
   */
  #wentOffline() {
    this.#setOffline(true);
    this.probe();
  }

  #cameBack() {
    this.#setOffline(false);
    this.#attempt = 0;
    this.#look();
  }

  #look() {
    if (this.#phase === 'waiting' && !this.#isHeldBack()) this.#connect();
    else this.probe();
  }

  /** A server that said when to come back is not asked before. */
  #isHeldBack() {
    return this.#verdict?.retryAfter !== undefined;
  }

  /** An open socket would keep the page out of the back-forward cache. */
  #suspend() {
    if (this.#phase === 'suspended' || this.#phase === 'closed') return;
    this.#drop(1000);
    this.#enter('suspended');
  }

  #resume() {
    if (this.#phase !== 'suspended') return;
    this.#attempt = 0;
    this.#connect();
  }
}

/** @param {any} frame a `bye`, or an `error` about the connection */
function verdict(frame) {
  const { code, reason, message, retryable, retryAfter } = frame;
  const said = message ?? `The server closed the connection (${reason ?? code}).`;
  return { retryable, retryAfter, error: failure(reason ?? nameOf(code), said, retryable) };
}

/**
 * @param {string} code
 * @param {string} message
 * @param {boolean} [retryable]
 * @returns {ChatError}
 */
function failure(code, message, retryable = false) {
  return { code, message, retryable };
}

/** @param {string | null | undefined} token @returns {string[]} */
function protocols(token) {
  return token ? [PROTOCOL, `agentws.bearer.${base64url(token)}`] : [PROTOCOL];
}

/** @param {string} text @returns {string} */
function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
