/**
 * Backoff: how long to wait before a retry.
 *
 * @module
 */

const BASE = 300;
const CAP = 15_000;

/**
 * The delay in milliseconds before retry number `attempt` (0 is the first). The first retry is immediate:
 * most drops come from a changed network or a restarted server behind a balancer. Later ones use exponential
 * backoff with full jitter, so that clients dropped together do not reconnect together (reconnect storm).
 *
 * @param {number} attempt
 * @param {() => number} random
 * @param {{base?: number, cap?: number, atLeast?: number}} [options] `atLeast`: the delay that the server asked
 *     for, in milliseconds
 * @returns {number}
 */
export function retryDelay(attempt, random, { base = BASE, cap = CAP, atLeast = 0 } = {}) {
  const jitter = attempt === 0 ? 0 : random() * Math.min(cap, base * 2 ** (attempt - 1));
  // The server gave the same minimum to many clients: jitter spreads them behind it.
  return atLeast > 0 ? atLeast + Math.max(jitter, random() * base) : jitter;
}
