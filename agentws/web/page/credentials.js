/**
 * The key that a person was asked for, where the server wants one. It lives as long as the tab.
 *
 * @module
 */

const KEY = `agentws:key:${location.pathname}`;

/** @type {string | null} */
let kept = null;

/** @returns {string | null} */
export function accessKey() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return kept;
  }
}

/** @param {string} key */
export function keepAccessKey(key) {
  kept = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // Forbidden here: then it lives as long as the page.
  }
}

/** @returns {Record<string, string>} what an HTTP request says of who asks */
export function credentials() {
  const key = accessKey();
  return key ? { authorization: `Bearer ${key}` } : {};
}
