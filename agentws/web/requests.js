/**
 * Frames that are answered: each waits for its `accepted` or `error`, over as many connections as it
 * takes where repeating does no harm.
 *
 * @module
 */

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

/** A refusal by the server. */
export class RequestError extends Error {
  /** @param {ChatError} error */
  constructor({ code, message, retryable }) {
    super(message);
    this.name = 'RequestError';
    this.code = code;
    this.retryable = retryable;
  }
}

export class Requests {
  /** @type {Map<string, Request>} */
  #open = new Map();
  #send;

  /** @param {(frame: object) => boolean} send says whether the frame went out */
  constructor(send) {
    this.#send = send;
  }

  /**
   * @param {any} frame
   * @param {boolean} repeatable whether it does no harm to send it twice
   * @returns {Promise<Accepted>}
   */
  ask(frame, repeatable) {
    const reply = new Promise((resolve, reject) => {
      const sent = this.#send(frame);
      this.#open.set(frame.id, { frame, resolve, reject, sent, repeatable });
    });
    // A caller that doesn't wait for the answer is no error.
    reply.catch(() => {});
    return reply;
  }

  /** A new connection: what the last one left unanswered is to be sent again, or given up. */
  begin() {
    for (const [id, request] of this.#open) {
      if (request.repeatable) request.sent = false;
      else if (request.sent) {
        const message = 'The connection was lost before this was answered.';
        this.refuse({ reply: id, code: 'connection_lost', message, retryable: true });
      }
    }
  }

  /** Sends what has not gone out yet. */
  flush() {
    for (const request of this.#open.values()) {
      if (!request.sent) request.sent = this.#send(request.frame);
    }
  }

  /**
   * @param {Accepted} accepted
   */
  accept(accepted) {
    this.#open.get(accepted.reply)?.resolve(accepted);
    this.#open.delete(accepted.reply);
  }

  /**
   * @param {ChatError & {reply?: string}} error
   * @returns {boolean} whether a request was meant
   */
  refuse(error) {
    const request = this.#open.get(error.reply ?? '');
    this.#open.delete(error.reply ?? '');
    request?.reject(new RequestError(error));
    return request !== undefined;
  }

  /** @param {ChatError} error */
  refuseAll(error) {
    for (const reply of [...this.#open.keys()]) this.refuse({ ...error, reply });
  }
}
