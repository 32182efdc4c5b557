/**
 * Frames as text.
 *
 * @module
 */
import { parseExactly } from './exact.js';

/** Escapes in JSON; half a pair is the only thing that is written as `\ud8..` to `\udf..`. */
const ESCAPES = /\\(?:ud[89a-f][0-9a-f]{2}|.)/g;

/**
 * `frame` as JSON that every server reads. A text cut in the middle of a character holds half a
 * surrogate pair, which is no Unicode: U+FFFD takes its place, in names and values.
 *
 * @param {object} frame
 * @returns {string}
 */
export function encode(frame) {
  return JSON.stringify(frame).replace(ESCAPES, (escape) =>
    escape.startsWith('\\ud') ? '\ufffd' : escape,
  );
}

/**
 * @param {unknown} data of a message
 * @returns {any[] | null} the frames it holds; null for what is none
 */
export function decode(data) {
  if (typeof data !== 'string') return null;
  try {
    const message = hasActivity(data) ? parseExactly(data) : JSON.parse(data);
    return Array.isArray(message) ? message : [message];
  } catch {
    return null;
  }
}

/** Activities are data that people look at. Inside of a text, no quote stands like these. @param {string} data */
function hasActivity(data) {
  return data.includes('"ACTIVITY_SNAPSHOT"') || data.includes('"activity"');
}
