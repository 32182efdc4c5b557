/**
 * What the client takes from the place it runs in, unless it is given something else. Nothing is
 * touched at import, so a server that renders pages may import it too.
 *
 * @module
 */

/**
 * @returns {Required<Pick<import('./client.js').ConnectOptions, 'WebSocket' | 'clock' | 'random' | 'signals' | 'newId'>>}
 */
export function environment() {
  return {
    WebSocket: globalThis.WebSocket,
    clock: {
      now: () => Date.now(),
      setTimeout: (act, delay) => globalThis.setTimeout(act, delay),
      clearTimeout: (timer) => globalThis.clearTimeout(/** @type {any} */ (timer)),
    },
    random: Math.random,
    signals: { window: globalThis.window, document: globalThis.document },
    newId: randomId,
  };
}

/** An id for a new session, which nobody guesses: 128 random bits. */
export function newSessionId() {
  return `ses_${randomId()}`;
}

/** `crypto.randomUUID` is missing on plain-http pages of a local network; `getRandomValues` is not. */
function randomId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
