/**
 * What close codes mean: 4000 and the HTTP status of a refusal, and WebSocket's own.
 *
 * @module
 */

/** Refusals by the names that errors have everywhere else. */
const NAMES = new Map([
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

/** @param {number | string} code of a close, or an error's name already */
export function nameOf(code) {
  return typeof code === 'string' ? code : (NAMES.get(code) ?? `close_${code}`);
}

/** Trying again would be refused again. @param {number} code */
export function isFatal(code) {
  if (code === 1008) return true;
  return code >= 4400 && code < 4500 && code !== 4408 && code !== 4429;
}

/** The server says "not now": asking again at once would only make it worse. @param {number} code */
export function isBusy(code) {
  return code === 1013 || code === 4429 || code === 4503;
}
