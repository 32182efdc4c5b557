/**
 * What a client asks for by one frame, and is told of by one answer. What needs more than that is in `socket.js`.
 *
 * @module
 */
import { defined } from './wire.js';

/** Each method resolves when the server has accepted the frame, and rejects with a `RequestError`. */
export class Requests {
  #request;

  /**
   * @param {(frame: any, repeatable: boolean) => Promise<import('./client.js').Accepted>} request sends a frame;
   *     `repeatable`: it is safe to send it twice
   */
  constructor(request) {
    this.#request = request;
  }

  /**
   * Goes on from an earlier user message with another one, on a new branch. Rejects during a run.
   *
   * @param {string} message
   * @param {import('./client.js').Content} content
   * @param {import('./client.js').EditOptions} [options]
   */
  edit(message, content, options = {}) {
    return this.#request({ type: 'edit', message, content, ...defined(options) }, true);
  }

  /**
   * Answers a user message again, on a new branch. Rejects during a run.
   * @param {string} [message] the last one by default
   */
  regenerate(message) {
    return this.#request({ type: 'regenerate', ...defined({ message }) }, true);
  }

  /** Goes back to another branch; the conversation is loaded again. @param {string} branch */
  switchTo(branch) {
    return this.#request({ type: 'switch', branch }, true);
  }

  /**
   * Replaces a queued message in its place. What is left out of `more` stays as it is.
   * @param {string} message @param {string | any[]} content @param {{attachments?: string[], metadata?: any}} [more]
   */
  editQueued(message, content, more) {
    return this.#request({ type: 'edit_queued', message, content, ...more }, true);
  }

  /** @param {string} message the id of a queued message that is to run next */
  promote(message) {
    return this.#request({ type: 'promote', message }, true);
  }

  /**
   * The same as sending `/name args`.
   * @param {string} name
   * @param {string} [args]
   * @param {{id?: string}} [options] the `reply` of its answer
   */
  command(name, args, { id } = {}) {
    return this.#request({ type: 'command', name, ...defined({ id, args }) }, false);
  }

  /** Gives the session another agent. @param {string} name */
  switchAgent(name) {
    return this.command('agent', name);
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
   * Sends the result of a tool that runs in this client.
   * @param {string} toolCallId
   * @param {{content?: unknown, error?: string}} result
   */
  toolResult(toolCallId, result) {
    return this.#request({ type: 'tool_result', toolCallId, ...defined(result) }, true);
  }

  /**
   * Changes the shared state by a JSON Patch, if the agent accepts it. Rejects with `state_conflict` when it does
   * not apply to the state as it is by then.
   * @param {import('./client.js').Operation[]} patch
   */
  patchState(patch) {
    return this.#request({ type: 'state', patch }, true);
  }

  /** Replaces the shared state. @param {unknown} value */
  setState(value) {
    return this.patchState([{ op: 'add', path: '', value }]);
  }

  /** Renews the credentials of the open connection. @param {string} token */
  authenticate(token) {
    return this.#request({ type: 'auth', token }, true);
  }
}
