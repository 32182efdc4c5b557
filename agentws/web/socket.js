/**
 * `AgentSocket`: one session, followed. It puts together the connection, the fold of the log and the
 * outbox, and shows them as one immutable snapshot.
 *
 * @module
 */
import { addressOf } from './address.js';
import { Connection } from './connection.js';
import { Delivery } from './delivery.js';
import { environment } from './environment.js';
import { Notices } from './notices.js';
import { Outbox, tooLarge } from './outbox.js';
import { Requests } from './requests.js';
import { ofOneLog, parsePosition } from './position.js';
import { emptyLog, prepend, reduce } from './reducer.js';
import { conversation, statusOf } from './view.js';
import { defined } from './wire.js';

/**
 * @typedef {import('./client.js').ChatError} ChatError
 * @typedef {import('./client.js').ChatSnapshot} ChatSnapshot
 * @typedef {import('./client.js').ConnectOptions} ConnectOptions
 */

const CLOSED = { code: 'closed', message: 'The connection is closed.', retryable: true };

/** @type {ChatSnapshot} What there is to show before anything happened, on a server too. */
export const idleSnapshot = Object.freeze({
  connection: 'closed',
  attempt: 0,
  retryAt: null,
  error: null,
  status: 'ready',
  session: null,
  messages: [],
  queue: [],
  runs: {},
  run: null,
  interrupts: [],
  notices: [],
  shared: undefined,
  title: null,
  agent: null,
  earlier: null,
  agents: [],
  identity: null,
  limits: null,
  position: null,
});

export class AgentSocket {
  #options;
  /** @type {Connection} */
  #connection;
  /** @type {Outbox} */
  #outbox;
  /** @type {Delivery} */
  #delivery;
  #log = emptyLog;
  /** @type {Record<string, any>} what the last welcome said */
  #welcome = {};
  /** @type {string | null} */
  #session;
  #notices = new Notices();
  #requests = new Requests((frame) => this.#connection.send(frame));
  /**
   * A snapshot is on its way: what is shown is dropped when it arrives, not before, so nothing flickers.
   */
  #stale = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #snapshot = idleSnapshot;

  /** @param {string | (() => string | Promise<string>)} url @param {ConnectOptions} [options] */
  constructor(url, options = {}) {
    this.#options = { ...environment(), ...defined(options) };
    this.#session = options.session ?? null;
    this.#outbox = new Outbox(options.storage ?? null);
    if (this.#session) this.#outbox.attach(this.#session);
    this.#delivery = new Delivery(
      this.#outbox,
      (frame) => this.#connection.send(frame),
      this.#options,
    );
    this.#connection = new Connection({
      ...this.#options,
      url: () => this.#address(url),
      getToken: options.getToken,
      receive: (frames) => this.#receive(frames),
      dropped: (code) => this.#dropped(code),
      change: () => this.#changed(),
    });
    this.#publish();
  }

  /** Opens the connection; without effect while it is open. */
  open() {
    this.#connection.start();
    return this;
  }

  /** Ends the connection until `open`. What is unsent is kept. */
  close() {
    this.#connection.close();
  }

  /** Tries again now, also after a refusal that ended the trying. */
  reconnect() {
    this.#connection.restart();
  }

  get session() {
    return this.#session;
  }

  /** @returns {ChatSnapshot} the same object until something changes */
  getSnapshot = () => this.#snapshot;

  /** @param {() => void} listener called after every change @returns {() => void} */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /**
   * Sends a user message, now or as soon as there is a connection; it is shown at once. Throws RangeError
   * when too many wait already.
   *
   * @param {import('./client.js').Content} content
   * @param {import('./client.js').SendOptions} [options]
   * @returns {string} the message's id
   */
  send(content, { id = this.#options.newId(), ...options } = {}) {
    const frame = { type: /** @type {const} */ ('send'), id, content, ...defined(options) };
    this.#outbox.add(frame);
    this.#delivery.flush();
    this.#publish();
    return id;
  }

  /** Sends a message again that was refused. @param {string} id */
  retry(id) {
    this.#outbox.retry(id);
    this.#delivery.flush();
    this.#publish();
  }

  /** Forgets a message that was not accepted. @param {string} id */
  discard(id) {
    this.#outbox.discard(id);
    this.#publish();
  }

  /**
   * Shows older messages in front: the answer of `GET sessions/{id}/messages?before=`, asked with the
   * snapshot's `earlier`.
   *
   * @param {import('./client.js').OlderMessages} page
   */
  showEarlier(page) {
    this.#log = prepend(this.#log, page);
    this.#publish();
  }

  /**
   * Stops the current run, or the message that is about to make one.
   * @returns {Promise<import('./client.js').Accepted | null>} null when there was nothing to stop
   */
  stop() {
    const { run, queue } = this.#log;
    const message = this.#outbox.unsent.at(-1)?.id ?? queue.at(-1)?.id;
    if (run === null && message === undefined) return Promise.resolve(null);
    // Named, so that a stop that comes late never hits the next run.
    return this.#request({ type: 'cancel', ...(run !== null ? { run } : { message }) }, true);
  }

  /**
   * Takes back a message that waits, here or on the server. Rejects when it has begun.
   * @param {string} id
   * @returns {Promise<import('./client.js').Accepted | null>} null when it had never got there
   */
  withdraw(id) {
    const kept = this.#outbox.find(id);
    this.discard(id);
    if (kept && !kept.sent) return Promise.resolve(null);
    const reply = this.#request({ type: 'withdraw', message: id }, true);
    const arrived = () => kept?.status !== 'sending' || this.#isInLog(id);
    const taken = reply.catch((error) => {
      // It was lost on its way: there is nothing to take back there.
      if (error.code === 'not_found' && !arrived()) return null;
      throw error;
    });
    taken.catch(() => {});
    return taken;
  }

  /**
   * The same as sending `/name args`.
   * @param {string} name
   * @param {string} [args]
   * @param {{id?: string}} [options] what its answer names as `reply`
   */
  command(name, args, { id } = {}) {
    return this.#request({ type: 'command', name, ...defined({ id, args }) }, false);
  }

  /**
   * Answers an interrupt.
   * @param {string} interrupt
   * @param {unknown} [payload]
   * @param {'resolved' | 'cancelled'} [status]
   */
  answer(interrupt, payload, status = 'resolved') {
    return this.#request({ type: 'answer', interrupt, status, ...defined({ payload }) }, true);
  }

  /**
   * The result of a tool that runs here.
   * @param {string} toolCallId
   * @param {{content?: unknown, error?: string}} result
   */
  toolResult(toolCallId, result) {
    return this.#request({ type: 'tool_result', toolCallId, ...defined(result) }, true);
  }

  /** Changes the shared state. @param {import('./client.js').Operation[]} patch */
  patchState(patch) {
    return this.#request({ type: 'state', patch }, false);
  }

  /** Renews the credentials of the open connection. @param {string} token */
  authenticate(token) {
    return this.#request({ type: 'auth', token }, true);
  }

  /**
   * @param {any} frame
   * @param {boolean} repeatable whether it does no harm to send it twice
   * @returns {Promise<any>}
   */
  #request(frame, repeatable) {
    return this.#requests.ask({ id: this.#options.newId(), ...frame }, repeatable);
  }

  /** @param {string | (() => string | Promise<string>)} url */
  async #address(url) {
    const base = typeof url === 'function' ? await url() : url;
    return addressOf(base, {
      session: this.#session,
      after: this.#stale ? null : this.#log.position,
      agent: this.#options.agent,
    });
  }

  /** @param {any[]} frames */
  #receive(frames) {
    for (const frame of frames) {
      if (!frame.event) this.#control(frame);
      else if (!this.#stale && this.#isForeign(frame)) {
        // Unannounced, and so is what follows it: begin again with a snapshot.
        this.#stale = true;
        return this.#connection.restart();
      } else this.#follow(frame);
    }
    this.#settle();
    // Any frame is a sign of life: what was kept back until there is one goes out.
    this.#delivery.flush();
    this.#requests.flush();
    this.#publish();
  }

  /** @param {{id: string}} frame @returns {boolean} whether it is of another log than the one shown */
  #isForeign({ id }) {
    return this.#log.position !== null && !ofOneLog(this.#log.position, id);
  }

  /** @param {import('./client.js').EventFrame} frame */
  #follow(frame) {
    if (this.#stale) this.#beginAnew(frame.id);
    this.#log = reduce(this.#log, frame);
  }

  /** Drops what is shown, and says so where its log is gone. @param {string} position in the new one */
  #beginAnew(position, log = emptyLog) {
    const isEmpty = conversation(this.#log, []).length === 0;
    if (!isEmpty && this.#isForeign({ id: position })) this.#notices.lost();
    this.#log = log;
    this.#stale = false;
  }

  /** @param {any} frame */
  #control(frame) {
    switch (frame.type) {
      case 'welcome':
        return this.#welcomed(frame);
      case 'accepted':
        return this.#accepted(frame);
      case 'error':
        return this.#refused(frame);
      case 'notice':
        return this.#noticed(frame);
    }
  }

  /** @param {any} welcome */
  #welcomed(welcome) {
    this.#welcome = welcome;
    this.#session = welcome.session;
    this.#outbox.attach(welcome.session);
    this.#stale = welcome.resume === 'snapshot';
    const { head: position, resume } = welcome;
    if (resume === 'new') this.#beginAnew(position, { ...emptyLog, position });
    this.#delivery.begin(welcome.limits?.maxMessageSize);
    this.#requests.begin();
  }

  /** @param {string} id */
  #isInLog(id) {
    return [...this.#log.messages, ...this.#log.queue].some((message) => message.id === id);
  }

  /** @param {any} frame */
  #accepted(frame) {
    this.#outbox.accept(frame.reply, frame.position);
    this.#requests.accept(frame);
  }

  /** @param {any} frame */
  #refused(frame) {
    if (this.#requests.refuse(frame)) return;
    if (this.#outbox.find(frame.reply)) this.#delivery.refused(frame);
    else this.#noticed({ content: frame.message, level: 'error', metadata: { code: frame.code } });
  }

  /** @param {any} frame */
  #noticed(frame) {
    this.#notices.add(frame, this.#log.messages.at(-1)?.id ?? null);
  }

  #changed() {
    if (this.#connection.state.connection === 'closed') {
      this.#requests.refuseAll(CLOSED);
      this.#delivery.end();
    }
    this.#publish();
  }

  /** @param {number} code */
  #dropped(code) {
    // Whatever was too big would be too big again.
    if (code === 1009)
      this.#outbox.failUnaccepted(tooLarge('The server found this message too big.'));
  }

  /**
   * An entry is known once the log that is shown has it, or has passed the place where it was accepted.
   */
  #settle() {
    const { position, messages, queue } = this.#log;
    if (position === null || this.#stale) return;
    const here = parsePosition(position);
    const shown = new Set([...messages, ...queue].map(({ id }) => id));
    this.#outbox.settle(({ frame, status, position: at }) => {
      if (shown.has(frame.id)) return true;
      if (status !== 'accepted' || at === undefined || !ofOneLog(position, at)) return false;
      return parsePosition(at).seq <= here.seq;
    });
  }

  #publish() {
    const { lane, restated, ...log } = this.#log;
    const { agent, agents = [], identity = null, limits = null } = this.#welcome;
    const unsent = this.#outbox.messages;
    this.#snapshot = Object.freeze({
      ...log,
      ...this.#connection.state,
      status: statusOf(this.#log, unsent),
      session: this.#session,
      messages: conversation(this.#log, unsent),
      notices: this.#notices.list,
      agent: log.agent ?? agent ?? null,
      agents,
      identity,
      limits,
    });
    for (const listener of [...this.#listeners]) listener();
  }
}

/**
 * Follows a session at `url`, and keeps following it until `close()`.
 *
 * @param {string | (() => string | Promise<string>)} url
 * @param {ConnectOptions} [options]
 * @returns {AgentSocket}
 */
export function connect(url, options) {
  return new AgentSocket(url, options).open();
}
