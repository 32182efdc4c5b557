/**
 * Errors as the client shows them, and what the close codes of a WebSocket mean.
 *
 * @module
 */

/** @typedef {import('./client.js').ChatError} ChatError */

/** Close codes of refusals: 4000 plus the HTTP status, or WebSocket's own, with the error code of the wire. */
const CODES = new Map([
  [1008, 'forbidden'],
  [4400, 'bad_request'],
  [4401, 'unauthenticated'],
  [4403, 'forbidden'],
  [4404, 'not_found'],
  [4408, 'timed_out'],
  [4409, 'conflict'],
  [4413, 'too_large'],
  [4421, 'misdirected'],
  [4429, 'too_many'],
  [4500, 'internal'],
  [4503, 'unavailable'],
]);

/**
 * @param {string} code
 * @param {string} message
 * @returns {Required<Pick<ChatError, 'code' | 'message' | 'retryable'>>}
 */
export function failure(code, message, retryable = false) {
  return { code, message, retryable };
}

/** A frame went out, and the connection ended before its answer. */
export const CONNECTION_LOST = failure(
  'connection_lost',
  'The connection was lost before this was answered.',
  true,
);

/** A promise of the client rejects with this: the server refused the frame, or the connection was lost. */
export class RequestError extends Error {
  /** @param {ChatError} error */
  constructor({ code, message, retryable, expected }) {
    super(message);
    this.name = 'RequestError';
    this.code = code;
    this.retryable = retryable;
    this.expected = expected;
  }
}

/**
 * Calls listeners of the application. What one of them throws is reported as an unhandled rejection, and stops nothing
 * here: frames that follow are not lost.
 *
 * @param {Iterable<(value?: any) => void>} listeners @param {unknown} [value]
 */
export function tell(listeners, value) {
  for (const listener of [...listeners]) {
    try {
      listener(value);
    } catch (error) {
      void Promise.reject(error);
    }
  }
}

/** @param {number | string} code a close code, or an error code already @returns {string} the error code */
export function errorCode(code) {
  return typeof code === 'string' ? code : (CODES.get(code) ?? `close_${code}`);
}

/** Whether a reconnect would be refused again. @param {number} code a close code */
export function isFatal(code) {
  if (code === 1008) return true;
  return code >= 4400 && code < 4500 && code !== 4408 && code !== 4429;
}

/** Whether the server has no capacity now: a reconnect without a delay would add to its load. @param {number} code */
export function isBusy(code) {
  return code === 1013 || code === 4429 || code === 4503;
}
