/**
 * How far a tool call or a run is, and how long it took, in words. Pure.
 *
 * @module
 */

/** @param {import('../client.js').Progress} progress @returns {string} */
export function progressText({ message, done, total }) {
  const count = done === undefined ? '' : total === undefined ? `${done}` : `${done} of ${total}`;
  return [message, count].filter(Boolean).join(' \u00b7 ') || 'Working';
}

/** @param {unknown} seconds @returns {string} empty for what is no duration */
export function durationText(seconds) {
  if (typeof seconds !== 'number' || !(seconds >= 0)) return '';
  if (seconds < 0.05) return '';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  return whole < 60 ? `${whole} s` : `${Math.floor(whole / 60)} min ${whole % 60} s`;
}
