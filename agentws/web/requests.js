/**
 * Frames whose answer a caller awaits: each ends with its `accepted` or `error`. A repeatable one is sent
 * again on every new connection until it is answered.
 *
 * @module
 */
import { CONNECTION_LOST, RequestError } from './errors.js';

/**
 * @typedef {import('./client.js').Accepted} Accepted
 * @typedef {import('./client.js').ChatError} ChatError
 * @typedef {object} Request
 * @property {any} frame
 * @property {(accepted: Accepted) => void} resolve
 * @property {(error: Error) => void} reject
 * @property {boolean} sent
 * @property {boolean} repeatable
 */

export class Requests {
  /** @type {Map<string, Request>} by the id of the frame */
  #open = new Map();
  #send;

  /** @param {(frame: object) => boolean} send returns whether the frame went out */
  constructor(send) {
    this.#send = send;
  }

  /**
   * @param {any} frame
   * @param {boolean} repeatable whether it is safe to send it twice
   * @returns {Promise<Accepted>} rejects with `RequestError`
   */
  ask(frame, repeatable) {
    const reply = new Promise((resolve, reject) => {
      const sent = this.#send(frame);
      this.#open.set(frame.id, { frame, resolve, reject, sent, repeatable });
    });
    // A caller may ignore the answer: its rejection is then not reported as unhandled.
    reply.catch(() => {});
    return reply;
  }

  /** After a handshake: marks repeatable requests to be sent again, and rejects the others that went out. */
  begin() {
    for (const [reply, request] of this.#open) {
      if (request.repeatable) request.sent = false;
      else if (request.sent) this.refuse({ ...CONNECTION_LOST, reply });
    }
  }

  /** Sends what has not gone out on this connection. */
  flush() {
    for (const request of this.#open.values()) {
      if (!request.sent) request.sent = this.#send(request.frame);
    }
  }

  /** @param {Accepted} accepted */
  accept(accepted) {
    this.#close(accepted.reply)?.resolve(accepted);
  }

  /**
   * @param {ChatError & {reply?: string}} error
   * @returns {boolean} whether it answers one of these requests
   */
  refuse(error) {
    const request = this.#close(error.reply);
    request?.reject(new RequestError(error));
    return request !== undefined;
  }

  /** @param {ChatError} error */
  refuseAll(error) {
    for (const reply of [...this.#open.keys()]) this.refuse({ ...error, reply });
  }

  /** @param {string} [reply] */
  #close(reply = '') {
    const request = this.#open.get(reply);
    this.#open.delete(reply);
    return request;
  }
}
