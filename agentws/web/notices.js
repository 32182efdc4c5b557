/**
 * Ephemeral notices: broadcasts and answers to commands. They are not in the log.
 *
 * @module
 */
import { defined } from './wire.js';

const CAPACITY = 100;
const CONVERSATION_LOST = {
  content: 'The server no longer has the conversation that was shown here.',
  level: 'warning',
  metadata: { code: 'conversation_lost' },
};

export class Notices {
  /** @type {readonly import('./client.js').Notice[]} the newest last */
  list = [];
  #count = 0;

  /** The server has lost the conversation that the notices belong to: says that instead. */
  conversationLost() {
    this.list = [];
    this.add(CONVERSATION_LOST, null);
  }

  /**
   * @param {any} frame
   * @param {string | null} after the id of the message after which it came
   */
  add({ content, level = 'info', metadata, topic, reply }, after) {
    const key = `notice-${++this.#count}`;
    const notice = { key, content, level, after, ...defined({ metadata, topic, reply }) };
    this.list = [...this.list, notice].slice(-CAPACITY);
  }
}
