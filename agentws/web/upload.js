/**
 * Uploads over HTTP, beside the WebSocket, and what takes them back. With `XMLHttpRequest`, since `fetch` reports no progress of an upload.
 *
 * @module
 */
import { CONNECTION_LOST, RequestError, failure } from './errors.js';
import { escaped, httpAddress } from './opening.js';

/**
 * The address of a file, or of the upload of one with that name.
 *
 * @param {string} url of the chat @param {string | null} session @param {string} last
 */
export function fileAddress(url, session, last) {
  // A URL would take a dot for a folder, and a server an escaped slash.
  const name = /^\.*$/.test(last) ? 'file' : escaped(last.replaceAll('/', '_'));
  return httpAddress(url, `/files/${name}`, { session });
}

/**
 * Puts a file at that address; without one, deletes what is there.
 *
 * @param {new () => XMLHttpRequest} Request
 * @param {string} address
 * @param {Blob | null} file
 * @param {string | null | undefined} token
 * @param {import('./client.js').UploadOptions} options
 * @returns {Promise<any>} the uploaded file
 */
export function transfer(
  Request,
  address,
  file,
  token,
  { onProgress, signal, credentials = false },
) {
  return new Promise((resolve, reject) => {
    const request = new Request();
    const fail = (/** @type {import('./client.js').ChatError} */ error) =>
      reject(new RequestError(error));
    request.open(file ? 'PUT' : 'DELETE', address);
    request.responseType = 'json';
    request.withCredentials = credentials;
    if (token) request.setRequestHeader('Authorization', `Bearer ${token}`);
    request.upload.onprogress = ({ loaded }) => onProgress?.(loaded, file?.size ?? 0);
    request.onload = () => {
      const { status, response } = request;
      if (status === (file ? 201 : 204)) resolve(response);
      else
        fail(
          response?.code
            ? response
            : failure(file ? 'upload_failed' : 'delete_failed', `The server answered ${status}.`),
        );
    };
    request.onerror = () => fail(CONNECTION_LOST);
    request.onabort = () => fail(failure('aborted', 'The upload was stopped.'));
    signal?.addEventListener('abort', () => request.abort());
    if (signal?.aborted) return request.onabort(/** @type {any} */ (null));
    request.send(file);
  });
}
