/**
 * The topics that a socket follows: each goes on from its own position after every reconnect.
 *
 * @module
 */
import { tell } from './errors.js';
import { defined } from './wire.js';

/** The newest posts of a topic that are kept here. */
const CAPACITY = 1_000;
/** Milliseconds until a subscription is asked for again that was refused for now, at least. */
const PAUSE = 1_000;

/**
 * @typedef {import('./client.js').TopicState} TopicState
 * @typedef {(state: TopicState) => void} Listener
 * @typedef {object} Topic
 * @property {TopicState} state
 * @property {Set<Listener>} listeners
 * @property {string | null} request the id of the frame that went out on this connection
 * @property {boolean} answered the server has answered it: events before that are of an earlier one
 * @property {unknown} pause the timer after which it is asked for again
 */

export class Topics {
  #send;
  #newId;
  #clock;
  /** @type {Map<string, Topic>} */
  #topics = new Map();

  /**
   * @param {(frame: object) => boolean} send returns whether the frame went out
   * @param {{clock: import('./client.js').Clock, newId: () => string}} settings
   */
  constructor(send, { clock, newId }) {
    this.#send = send;
    this.#clock = clock;
    this.#newId = newId;
  }

  /**
   * @param {string} name
   * @param {Listener} listener called at once, and after every change
   * @param {string | null} after a position in the topic
   * @returns {() => void} ends it
   */
  follow(name, listener, after) {
    let topic = this.#topics.get(name);
    if (!topic) {
      const state = { topic: name, position: after, posts: [], reason: null, error: null };
      topic = { state, listeners: new Set(), request: null, answered: false, pause: null };
      this.#topics.set(name, topic);
    }
    const { listeners } = topic;
    // Of its own, as one function may be given twice.
    const own = (/** @type {TopicState} */ state) => listener(state);
    listeners.add(own);
    own(topic.state);
    this.flush();
    return () => {
      if (listeners.delete(own) && listeners.size === 0) this.#leave(name);
    };
  }

  /** @param {string} name */
  #leave(name) {
    this.#resume(name);
    this.#topics.delete(name);
    this.#send({ type: 'unsubscribe', id: this.#newId(), topic: name });
  }

  /** After a handshake: every topic is asked for again. */
  begin() {
    for (const name of this.#topics.keys()) this.#resume(name);
  }

  /** @param {string} name */
  #resume(name) {
    const topic = this.#topics.get(name);
    if (!topic) return;
    this.#clock.clearTimeout(topic.pause);
    Object.assign(topic, { request: null, answered: false, pause: null });
  }

  /** Sends what has not gone out on this connection. */
  flush() {
    for (const [name, topic] of this.#topics) {
      if (topic.request !== null || topic.pause !== null) continue;
      const [id, after] = [this.#newId(), topic.state.position ?? undefined];
      if (this.#send({ type: 'subscribe', id, topic: name, ...defined({ after }) }))
        topic.request = id;
    }
  }

  /** @param {any} frame `subscribed`; without a reply, this client was too slow to be continued */
  subscribed({ reply, topic: name, after, resume, reason = null }) {
    const topic = this.#topics.get(name);
    if (!topic || (reply ?? topic.request) !== topic.request) return;
    topic.answered = true;
    const fresh = resume === 'snapshot' ? { posts: [], reason } : { reason: null };
    this.#change(topic, { position: after, error: null, ...fresh });
  }

  /** @param {any} frame an event frame with a topic */
  received({ id, topic: name, event }) {
    const topic = this.#topics.get(name);
    if (!topic?.answered) return;
    const { content, level, timestamp, metadata } = event;
    const post = { id, content, level, ...defined({ timestamp, metadata }) };
    const known = topic.state.posts;
    const posts = event.type === 'notice.posted' ? [...known, post].slice(-CAPACITY) : known;
    this.#change(topic, { position: id, posts });
  }

  /**
   * @param {any} refusal
   * @returns {boolean} whether it refuses a subscription
   */
  refused({ reply, code, message, retryable, retryAfter = 0 }) {
    const [name, topic] = [...this.#topics].find(([, one]) => one.request === reply) ?? [];
    if (!topic || name === undefined || reply === undefined) return false;
    if (retryable) {
      topic.pause = this.#clock.setTimeout(
        () => {
          this.#resume(name);
          this.flush();
        },
        Math.max(PAUSE, retryAfter * 1000),
      );
    }
    this.#change(topic, { error: { code, message, retryable } });
    return true;
  }

  /** @param {Topic} topic @param {Partial<TopicState>} change */
  #change(topic, change) {
    topic.state = { ...topic.state, ...change };
    tell(topic.listeners, topic.state);
  }
}
