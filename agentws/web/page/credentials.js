/**
 * The access key that a person entered, for a server that asks for one. It lives as long as the tab.
 *
 * @module
 */

const KEY = `agentws:key:${location.pathname}`;

/** @type {string | null} */
let kept = null;

/** @returns {string | null} */
export function accessKey() {
  try {
    return kept ?? sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

/** @param {string} key */
export function keepAccessKey(key) {
  kept = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // Storage is full or forbidden: the key lives as long as the page.
  }
}

/** @returns {Record<string, string>} the headers that authenticate an HTTP request */
export function credentials() {
  const key = accessKey();
  return key ? { authorization: `Bearer ${key}` } : {};
}
