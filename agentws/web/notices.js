/**
 * What was told in passing: broadcasts, and answers to commands. None of it is in the log.
 *
 * @module
 */
import { defined } from './wire.js';

const KEPT = 100;
const LOST = {
  content: 'The server no longer has what was said here before.',
  level: 'warning',
  metadata: { code: 'conversation_lost' },
};

export class Notices {
  /** @type {readonly import('./client.js').Notice[]} */
  list = [];
  #count = 0;

  /** The conversation that they were told in is gone, which is all there is to tell of it. */
  lost() {
    this.list = [];
    this.add(LOST, null);
  }

  /**
   * @param {any} frame
   * @param {string | null} after the id of the message after which it came
   */
  add({ content, level = 'info', metadata, topic, reply }, after) {
    const key = `notice-${++this.#count}`;
    const notice = { key, content, level, after, ...defined({ metadata, topic, reply }) };
    this.list = [...this.list, notice].slice(-KEPT);
  }
}
