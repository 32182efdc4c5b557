/**
 * The sessions of a person, over HTTP, beside the WebSocket of a chat.
 *
 * @module
 */
import { CONNECTION_LOST, RequestError, failure } from './errors.js';
import { parseExactly } from './exact.js';
import { escaped, httpAddress } from './opening.js';

/** Finds, renames and deletes sessions. Every method rejects with a `RequestError`. */
export class Sessions {
  #url;
  #options;

  /** @param {string} url as of `connect` @param {import('./client.js').SessionsOptions} [options] */
  constructor(url, options = {}) {
    this.#url = url;
    this.#options = options;
  }

  /**
   * Those of the person, the last used first. Nobody owns an anonymous session, so it is not listed.
   * @param {import('./client.js').SessionsQuery} [query]
   * @returns {Promise<import('./client.js').SessionsPage>}
   */
  list({ query, before, limit } = {}) {
    return this.#call('GET', '', { query, before, limit });
  }

  /** @param {string} id @returns {Promise<import('./client.js').SessionInfo>} */
  get(id) {
    return this.#call('GET', pathOf(id));
  }

  /**
   * Every client that follows it learns its new title.
   * @param {string} id @param {string} title @returns {Promise<import('./client.js').SessionInfo>}
   */
  rename(id, title) {
    return this.#call('PATCH', pathOf(id), {}, { title });
  }

  /** Deletes it with its log and its files. Its id can't be used again. @param {string} id @returns {Promise<void>} */
  delete(id) {
    return this.#call('DELETE', pathOf(id));
  }

  /**
   * Older messages than a snapshot has, for `showEarlier`.
   * @param {string} id @param {number} before the snapshot's `earlier`
   * @returns {Promise<import('./client.js').OlderMessages>}
   */
  messages(id, before) {
    return this.#call('GET', `${pathOf(id)}/messages`, { before });
  }

  /**
   * @param {string} method @param {string} path @param {Record<string, any>} [parameters] @param {object} [body]
   * @returns {Promise<any>}
   */
  async #call(method, path, parameters = {}, body) {
    const { getToken, credentials = false, fetch = globalThis.fetch } = this.#options;
    const token = await getToken?.();
    const asked = {
      method,
      credentials: /** @type {RequestCredentials} */ (credentials ? 'include' : 'same-origin'),
      headers: {
        ...(token && { authorization: `Bearer ${token}` }),
        ...(body && { 'content-type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    };
    const address = httpAddress(this.#url, `/sessions${path}`, parameters);
    let response, text;
    try {
      response = await fetch(address, asked);
      text = await response.text();
    } catch {
      throw new RequestError(CONNECTION_LOST);
    }
    const answer = parsed(text);
    if (response.ok) return answer;
    const unknown = failure('failed', `The server answered ${response.status}.`);
    throw new RequestError(answer?.code ? answer : unknown);
  }
}

/** @param {string} id */
function pathOf(id) {
  // A URL would take a dot for a folder: no session has this id, so the server refuses it.
  return /^\.*$/.test(id) ? '/-' : `/${escaped(id)}`;
}

/** @param {string} text @returns {any} undefined for what is not JSON, such as the error page of a proxy */
function parsed(text) {
  try {
    return parseExactly(text);
  } catch {
    return undefined;
  }
}
