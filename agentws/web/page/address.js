/**
 * The address of the page names the chat, so that a reload, a bookmark and the Back button find it.
 *
 * @module
 */

/** @returns {string | null} */
export function sessionOfAddress() {
  return new URLSearchParams(location.search).get('session') || null;
}

/** @param {string} session @param {'push' | 'replace' | 'none'} how it enters the history */
export function showAddress(session, how) {
  const address = new URL(location.href);
  address.searchParams.set('session', session);
  if (how === 'push') history.pushState(null, '', address);
  if (how === 'replace') history.replaceState(null, '', address);
}
