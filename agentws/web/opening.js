/**
 * The opening handshake: its address, its subprotocols, and the socket.
 *
 * @module
 */

const PROTOCOL = 'agentws.v1';

/** An address that no browser opens, now or later: trying again is useless. */
export class BadAddress extends Error {}

/**
 * @param {string} url absolute, or relative to the page; `http` stands for `ws`
 * @param {Record<string, string | number | null | undefined>} parameters of the query; empty ones are left out
 * @returns {string}
 * @throws {BadAddress}
 */
export function addressOf(url, parameters) {
  const address = parsed(url);
  address.protocol = address.protocol.replace(/^http/, 'ws');
  for (const [name, value] of Object.entries(parameters)) {
    if (value) address.searchParams.set(name, String(value));
  }
  return address.href;
}

/**
 * The address of a route of the gateway.
 *
 * @param {string} url of the chat
 * @param {string} path after the prefix
 * @param {Record<string, any>} parameters as of `addressOf`
 * @throws {BadAddress}
 */
export function httpAddress(url, path, parameters) {
  const address = new URL(addressOf(url, parameters));
  address.protocol = address.protocol.replace(/^ws/, 'http');
  address.pathname = address.pathname.replace(/(\/ws\/chat)?\/?$/, () => path);
  return address.href;
}

/** @param {string} text @returns {string} for a path: U+FFFD replaces a lone surrogate, which no address can have */
export function escaped(text) {
  return encodeURIComponent(text.replace(/\p{Surrogate}/gu, '\ufffd'));
}

/** @param {string} url */
function parsed(url) {
  try {
    return new URL(url, globalThis.location?.href);
  } catch (error) {
    throw new BadAddress(`${url} is not a valid address.`, { cause: error });
  }
}

/**
 * @param {new (url: string, protocols: string[]) => WebSocket} WebSocket
 * @param {string} address
 * @param {string | null | undefined} token goes as a subprotocol, since a browser sets no headers here
 * @returns {WebSocket}
 * @throws {BadAddress} when the browser refuses it: an unknown scheme, or plain text on a secure page
 */
export function openSocket(WebSocket, address, token) {
  const protocols = token ? [PROTOCOL, `agentws.bearer.${base64url(token)}`] : [PROTOCOL];
  try {
    return new WebSocket(address, protocols);
  } catch (error) {
    throw new BadAddress(String(error), { cause: error });
  }
}

/** @param {string} text @returns {string} */
function base64url(text) {
  const bytes = String.fromCharCode(...new TextEncoder().encode(text));
  return btoa(bytes).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
}
