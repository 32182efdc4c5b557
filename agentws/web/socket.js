/**
 * `AgentSocket`: follows one session. It connects the connection, the log and the outbox, and publishes them
 * as one immutable snapshot.
 *
 * @module
 */
import { Connection } from './connection.js';
import { Delivery } from './delivery.js';
import { environment } from './environment.js';
import { RequestError, failure, tell } from './errors.js';
import { Notices } from './notices.js';
import { addressOf } from './opening.js';
import { Outbox } from './outbox.js';
import { covers, ofOneLog } from './position.js';
import { emptyLog, prepend, reduce } from './reducer.js';
import { Requests } from './requests.js';
import { handleTool } from './tools.js';
import { Topics } from './topics.js';
import { fileAddress, transfer } from './upload.js';
import { idleSnapshot, idsOf, snapshotOf } from './view.js';
import { defined } from './wire.js';

/**
 * @typedef {import('./client.js').ConnectOptions} ConnectOptions
 * @typedef {string | (() => string | Promise<string>)} Url
 */

/** The close code for a message that is too large. */
const TOO_LARGE = 1009;

export class AgentSocket extends Requests {
  #options;
  /** @type {Connection} */
  #connection;
  /** @type {Outbox} */
  #outbox;
  /** @type {Delivery} */
  #delivery;
  #topics;
  #log = emptyLog;
  /** @type {Set<(presence: import('./client.js').Presence) => void>} */
  #watchers = new Set();
  /** @type {Record<string, any>} what the last welcome said */
  #welcome = {};
  /** @type {string | null} */
  #session;
  /** The address that was given, or that a function gave last. */
  #base = '';
  #notices = new Notices();
  /** A snapshot will replace the log. The old one is shown until it arrives, so that the page does not flicker. */
  #stale = false;
  /** @type {Set<() => void>} */
  #listeners = new Set();
  #snapshot = idleSnapshot;

  /** @param {Url} url @param {ConnectOptions} [options] */
  constructor(url, options = {}) {
    super((frame, repeatable) => this.#request(frame, repeatable));
    this.#options = { ...environment(), ...defined(options) };
    this.#session = options.session ?? null;
    if (typeof url === 'string') this.#base = url;
    this.#outbox = new Outbox(options.storage ?? null);
    if (this.#session) this.#outbox.attach(this.#session);
    this.#delivery = new Delivery(
      this.#outbox,
      (frame) => this.#connection.send(frame),
      this.#options,
    );
    this.#topics = new Topics((frame) => this.#connection.send(frame), this.#options);
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

  /** Connects; does nothing while it is connected. */
  open() {
    this.#connection.start();
    return this;
  }

  /** Closes the connection, until `open`. Unsent messages are kept. */
  close() {
    this.#connection.close();
  }

  /** Reconnects now, also after a fatal error. */
  reconnect() {
    this.#connection.restart();
  }

  get session() {
    return this.#session;
  }

  /** @returns {import('./client.js').ChatSnapshot} the same object until something changes */
  getSnapshot = () => this.#snapshot;

  /** @param {() => void} listener called after every change @returns {() => void} */
  subscribe = (listener) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  /**
   * Sends a user message, now or as soon as the connection is open; the snapshot shows it at once. Throws
   * RangeError when the outbox is full.
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
    this.#delivery.retry(id);
    this.#publish();
  }

  /** Removes an unsent message. @param {string} id */
  discard(id) {
    this.#outbox.discard(id);
    this.#publish();
  }

  /**
   * Puts older messages in front: the answer of `GET sessions/{id}/messages?before=`, with the snapshot's
   * `earlier` as `before`.
   *
   * @param {import('./client.js').OlderMessages} page
   */
  showEarlier(page) {
    this.#log = prepend(this.#log, page);
    this.#publish();
  }

  /**
   * Cancels the current run, or the message that is about to start one.
   * @returns {Promise<import('./client.js').Accepted | null>} null when there was nothing to stop
   */
  stop() {
    const { run, queue } = this.#log;
    const message = this.#outbox.unsent.at(-1)?.id ?? queue.at(-1)?.id;
    if (run === null && message === undefined) return Promise.resolve(null);
    // It names the run, so that a late cancel does not stop the next one.
    return this.#request({ type: 'cancel', ...(run !== null ? { run } : { message }) }, true);
  }

  /**
   * Withdraws a message from the outbox or from the server's queue. Rejects when its run has begun.
   * @param {string} id
   * @returns {Promise<import('./client.js').Accepted | null>} null when the server never received it
   */
  withdraw(id) {
    const kept = this.#outbox.find(id);
    this.discard(id);
    if (kept && !kept.sent) return Promise.resolve(null);
    const arrived = () => kept?.status !== 'sending' || idsOf(this.#log).has(id);
    const reply = this.#request({ type: 'withdraw', message: id }, true).catch((error) => {
      // The message never reached the server, which has nothing to withdraw.
      if (error.code === 'not_found' && !arrived()) return null;
      throw error;
    });
    reply.catch(() => {});
    return reply;
  }

  /**
   * Has `handler` make the agent's calls of a tool of this client. Returns a function that ends this.
   * @param {string} name
   * @param {(args: any) => unknown} handler
   */
  tool(name, handler) {
    return handleTool(this, name, handler);
  }

  /**
   * Follows a topic, also over reconnects. Returns a function that ends this.
   * @param {string} topic
   * @param {(state: import('./client.js').TopicState) => void} listener called at once, and after every change
   * @param {{after?: string}} [options] a position in the topic, from which on its posts are wanted
   */
  follow(topic, listener, { after } = {}) {
    return this.#topics.follow(topic, listener, after ?? null);
  }

  /**
   * Calls `listener` with who is in the session, now and whenever that changes. Returns a function that ends this.
   * @param {(presence: import('./client.js').Presence) => void} listener
   */
  watchPresence(listener) {
    this.#watchers.add(listener);
    this.#askPresence(true);
    return () => {
      if (this.#watchers.delete(listener) && this.#watchers.size === 0) this.#askPresence(false);
    };
  }

  /** @param {boolean} watch */
  #askPresence(watch) {
    this.#request({ type: 'presence', watch }, true);
  }

  /**
   * Uploads a file for this session; `send` takes its id among the `attachments`. Rejects when it is refused.
   * @param {Blob} file a `File`, or any blob
   * @param {import('./client.js').UploadOptions} [options]
   */
  async upload(file, options = {}) {
    const { name = /** @type {File} */ (file).name ?? '' } = options;
    const most = this.#welcome.limits?.maxFileSize;
    if (file.size > most)
      throw new RequestError(failure('too_large', `A file has at most ${most} bytes.`));
    const token = await this.#options.getToken?.();
    return transfer(this.#options.XMLHttpRequest, this.fileUrl(name), file, token, options);
  }

  /**
   * Deletes an uploaded file: one that no message is sent with need not wait for its expiry.
   * @param {string} id @param {{credentials?: boolean}} [options]
   */
  async deleteFile(id, options = {}) {
    const token = await this.#options.getToken?.();
    await transfer(this.#options.XMLHttpRequest, this.fileUrl(id), null, token, options);
  }

  /** The address of a file of this session, for a link or an image. @param {string} id */
  fileUrl(id) {
    return fileAddress(this.#base, this.#session, id);
  }

  /**
   * @param {any} frame
   * @param {boolean} repeatable whether it is safe to send it twice
   * @returns {Promise<import('./client.js').Accepted>}
   */
  #request(frame, repeatable) {
    return this.#delivery.request({ id: this.#options.newId(), ...frame }, repeatable);
  }

  /** The address of the next handshake: the server replays the log after `after`. @param {Url} url */
  async #address(url) {
    if (typeof url === 'function') this.#base = await url();
    return addressOf(this.#base, {
      session: this.#session,
      after: this.#stale ? null : this.#log.position,
      agent: this.#options.agent,
    });
  }

  /** @param {any[]} frames */
  #receive(frames) {
    for (const frame of frames) {
      if (!frame.event) this.#control(frame);
      else if (frame.topic !== undefined) this.#topics.received(frame);
      else if (!this.#stale && (this.#isForeign(frame) || this.#needsReload(frame))) {
        // The log can't be continued: the reconnect asks for a snapshot.
        this.#stale = true;
        return this.#connection.restart();
      } else this.#reduce(frame);
    }
    this.#settle();
    // Any frame shows that the connection works, so what has waited for that is sent.
    this.#delivery.flush();
    this.#topics.flush();
    this.#publish();
  }

  /** @param {{id: string}} frame @returns {boolean} whether it is of another log than this one */
  #isForeign({ id }) {
    return this.#log.position !== null && !ofOneLog(this.#log.position, id);
  }

  /**
   * @param {import('./client.js').EventFrame} frame
   * @returns {boolean} whether what it brings into view is not here
   */
  #needsReload({ id, event }) {
    const { position } = this.#log;
    return event.reload === true && (position === null || !covers(position, id));
  }

  /** @param {import('./client.js').EventFrame} frame */
  #reduce(frame) {
    if (this.#stale) this.#replaceLog(frame.id);
    this.#log = reduce(this.#log, frame);
  }

  /** Drops the log, with a notice when the server has lost it. @param {string} position in the new one */
  #replaceLog(position, log = emptyLog) {
    const isEmpty = idsOf(this.#log).size === 0;
    if (!isEmpty && this.#isForeign({ id: position })) this.#notices.conversationLost();
    this.#log = log;
    this.#stale = false;
  }

  /** @param {any} frame */
  #control(frame) {
    switch (frame.type) {
      case 'welcome':
        return this.#welcomed(frame);
      case 'accepted':
        return this.#delivery.accepted(frame);
      case 'subscribed':
        return this.#topics.subscribed(frame);
      case 'error':
        return this.#refused(frame);
      case 'notice':
        return this.#noticed(frame);
      case 'presence':
        this.#delivery.accepted(frame);
        tell(this.#watchers, frame);
    }
  }

  /** @param {any} welcome */
  #welcomed(welcome) {
    this.#welcome = welcome;
    this.#session = welcome.session;
    this.#outbox.attach(welcome.session);
    this.#stale = welcome.resume === 'snapshot';
    const { head: position, resume } = welcome;
    if (resume === 'new') this.#replaceLog(position, { ...emptyLog, position });
    this.#topics.begin();
    this.#delivery.begin(welcome.limits?.maxMessageSize);
    // The server has forgotten it with the connection.
    if (this.#watchers.size > 0) this.#askPresence(true);
  }

  /** @param {any} frame */
  #refused(frame) {
    if (this.#delivery.refused(frame) || this.#topics.refused(frame)) return;
    // The server closes the connection, which is opened again by itself.
    if (frame.code === 'unavailable') return;
    this.#noticed({ content: frame.message, level: 'error', metadata: { code: frame.code } });
  }

  /** @param {any} frame */
  #noticed(frame) {
    this.#notices.add(frame, this.#log.messages.at(-1)?.id ?? null);
  }

  #changed() {
    if (this.#connection.state.connection === 'closed') this.#delivery.end();
    this.#publish();
  }

  /** @param {number} code */
  #dropped(code) {
    if (code === TOO_LARGE) this.#delivery.tooLargeForServer();
  }

  /** Removes messages from the outbox that the log has, or had (the history may have been cleared since). */
  #settle() {
    const { position } = this.#log;
    if (position === null || this.#stale || this.#outbox.isEmpty) return;
    const ids = idsOf(this.#log);
    this.#outbox.settle(
      ({ frame, status, position: at }) =>
        ids.has(frame.id) || (status === 'accepted' && at !== undefined && covers(position, at)),
    );
  }

  #publish() {
    this.#snapshot = snapshotOf({
      log: this.#log,
      connection: this.#connection.state,
      welcome: this.#welcome,
      session: this.#session,
      unsent: this.#outbox.messages,
      notices: this.#notices.list,
    });
    tell(this.#listeners);
  }
}

/**
 * Opens an `AgentSocket`: follows a session at `url`, with reconnects, until `close()`.
 *
 * @param {Url} url
 * @param {ConnectOptions} [options]
 * @returns {AgentSocket}
 */
export function connect(url, options) {
  return new AgentSocket(url, options).open();
}
