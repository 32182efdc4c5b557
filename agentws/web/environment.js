/**
 * The defaults for what the client needs of its environment. Nothing is read at import, so a server that
 * renders pages may import it.
 *
 * @module
 */

/**
 * @returns {Required<Pick<import('./client.js').ConnectOptions, 'WebSocket' | 'XMLHttpRequest' | 'clock' | 'random' | 'signals' | 'newId'>>}
 */
export function environment() {
  return {
    WebSocket: globalThis.WebSocket,
    XMLHttpRequest: globalThis.XMLHttpRequest,
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

/** An unguessable id for a new session: 128 random bits. */
export function newSessionId() {
  return `ses_${randomId()}`;
}

/** Not `crypto.randomUUID`, which pages over plain http on a local network do not have. */
function randomId() {
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
