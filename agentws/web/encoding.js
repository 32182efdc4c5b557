/**
 * Encodes and decodes frames: one WebSocket message is one frame or an array of frames, as JSON.
 *
 * @module
 */
import { parseExactly, spelled } from './exact.js';

/** Escapes in JSON. `JSON.stringify` writes only a lone surrogate as `\ud8..` to `\udf..`. */
const ESCAPES = /\\(?:ud[89a-f][0-9a-f]{2}|.)/g;
/** What has JSON that is shown, or sent back. A text that has such a word is only slower. */
const EXACT = /"(?:ACTIVITY_|STATE_|activity"|answered"|editedArgs|interrupt|state\.)/;

/**
 * `frame` as JSON that every server accepts. A text cut in the middle of a character has a lone surrogate, which
 * is not valid Unicode: U+FFFD replaces it, in names and in values. A number that `parseExactly` parsed keeps its
 * spelling.
 *
 * @param {object} frame
 * @returns {string}
 */
export function encode(frame) {
  return spelled(frame).replace(ESCAPES, (escape) =>
    escape.startsWith('\\ud') ? '\ufffd' : escape,
  );
}

/**
 * @param {unknown} data of a WebSocket message
 * @returns {any[] | null} its frames; null if it is not JSON
 */
export function decode(data) {
  if (typeof data !== 'string') return null;
  try {
    const message = EXACT.test(data) ? parseExactly(data) : JSON.parse(data);
    return Array.isArray(message) ? message : [message];
  } catch {
    return null;
  }
}
