/**
 * How long to wait before trying again.
 *
 * @module
 */

const BASE = 300;
const CAP = 15_000;

/**
 * Milliseconds to wait before retry number `attempt` (0 is the first). The first is immediate: most
 * drops are a changed network or a restarted server behind a balancer, and cost nothing to try. From
 * the second on it is full jitter, so that a thousand clients dropped together don't come back together.
 *
 * @param {number} attempt
 * @param {() => number} random
 * @param {{base?: number, cap?: number, atLeast?: number}} [options] `atLeast`: what the server asked for, in milliseconds
 * @returns {number}
 */
export function retryDelay(attempt, random, { base = BASE, cap = CAP, atLeast = 0 } = {}) {
  const jitter = attempt === 0 ? 0 : random() * Math.min(cap, base * 2 ** (attempt - 1));
  // The server's hint is a floor, and many clients got the same one: spread them behind it.
  return atLeast > 0 ? atLeast + Math.max(jitter, random() * base) : jitter;
}
