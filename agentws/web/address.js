/**
 * Where to connect to.
 *
 * @module
 */

/** An address that no browser opens, now or later. */
export class BadAddress extends Error {}

/**
 * @param {string} url absolute, or relative to the page; `http` stands for `ws`
 * @param {Record<string, string | null | undefined>} parameters those that are empty are left out
 * @returns {string}
 * @throws {BadAddress}
 */
export function addressOf(url, parameters) {
  const address = parsed(url);
  address.protocol = address.protocol.replace(/^http/, 'ws');
  for (const [name, value] of Object.entries(parameters)) {
    if (value) address.searchParams.set(name, value);
  }
  return address.href;
}

/** @param {string} url */
function parsed(url) {
  try {
    return new URL(url, globalThis.location?.href);
  } catch (error) {
    throw new BadAddress(`${url} is no address.`, { cause: error });
  }
}

/**
 * @param {new (url: string, protocols: string[]) => WebSocket} WebSocket
 * @param {string} address
 * @param {string[]} protocols
 * @returns {WebSocket}
 * @throws {BadAddress} what a constructor refuses (a scheme, plain text on a secure page) stays refused
 */
export function openSocket(WebSocket, address, protocols) {
  try {
    return new WebSocket(address, protocols);
  } catch (error) {
    throw new BadAddress(String(error), { cause: error });
  }
}
