/** Uploads of the browser client, with a fake request. */
import assert from 'node:assert/strict';
import { test } from 'node:test';

import { AgentSocket, RequestError } from '../../agentws/web/client.js';
import { fileAddress } from '../../agentws/web/upload.js';
import { FakeClock, fakeNetwork, settled } from './fakes.mjs';

const SESSION = 'ses_0123456789abcdef';
const STORED = { id: 'file_1', name: 'a.txt', type: 'text/plain', size: 5 };

/** Remembers its requests; a test answers them. */
function fakeRequests() {
  /** @type {any[]} */
  const made = [];
  class FakeRequest {
    upload = {};
    headers = {};
    onload = () => {};
    onabort = () => {};
    constructor() {
      made.push(this);
    }
    open(method, url) {
      Object.assign(this, { method, url });
    }
    setRequestHeader(name, value) {
      this.headers[name] = value;
    }
    send(body) {
      this.body = body;
    }
    abort() {
      this.onabort();
    }
    answer(status, response) {
      Object.assign(this, { status, response });
      this.onload();
    }
  }
  return { made, FakeRequest };
}

function follow(options = {}) {
  const { made, FakeRequest } = fakeRequests();
  const network = fakeNetwork();
  const chat = new AgentSocket('wss://chat.example/app/ws/chat', {
    session: SESSION,
    WebSocket: network.WebSocket,
    XMLHttpRequest: /** @type {any} */ (FakeRequest),
    clock: new FakeClock(),
    signals: {},
    ...options,
  });
  return { chat, made };
}

test('a file is put beside the endpoint, for the session of the chat', async () => {
  const { chat, made } = follow({ getToken: async () => 'secret' });
  const sent = [];
  const file = new File(['Hello'], 'ä b.txt', { type: 'text/plain' });
  const done = chat.upload(file, { onProgress: (...progress) => sent.push(progress) });
  await settled();
  const [request] = made;
  assert.equal(request.method, 'PUT');
  assert.equal(request.url, `https://chat.example/app/files/%C3%A4%20b.txt?session=${SESSION}`);
  assert.equal(request.headers.Authorization, 'Bearer secret');
  assert.equal(request.body, file);
  assert.equal(request.withCredentials, false);
  request.upload.onprogress({ loaded: 3 });
  request.answer(201, STORED);
  assert.deepEqual(await done, STORED);
  assert.deepEqual(sent, [[3, 5]]);
});

test('a refusal, a lost connection and a stop reject with an error that has a code', async () => {
  const { chat, made } = follow();
  const refusal = { code: 'quota_exceeded', message: 'Full.', retryable: false };
  const stop = new AbortController();
  /** @type {[(request: any) => void, string][]} */
  const cases = [
    [(request) => request.answer(413, refusal), 'quota_exceeded'],
    [(request) => request.answer(502, null), 'upload_failed'],
    [(request) => request.onerror(), 'connection_lost'],
    [() => stop.abort(), 'aborted'],
  ];
  for (const [happen, code] of cases) {
    const done = chat.upload(new Blob(['Hello']), { name: 'a', signal: stop.signal });
    await settled();
    happen(made.at(-1));
    await assert.rejects(done, (error) => error instanceof RequestError && error.code === code);
  }
  await assert.rejects(chat.upload(new Blob(['x']), { signal: stop.signal }), { code: 'aborted' });
  assert.equal(made.at(-1).body, undefined);
});

test('an uploaded file is deleted for the session of the chat', async () => {
  const { chat, made } = follow({ getToken: async () => 'secret' });
  const done = chat.deleteFile('file_1');
  await settled();
  const [{ method, url, headers }] = made;
  assert.equal(method, 'DELETE');
  assert.equal(url, `https://chat.example/app/files/file_1?session=${SESSION}`);
  assert.equal(headers.Authorization, 'Bearer secret');
  made[0].answer(204, null);
  await done;
  const refused = chat.deleteFile('file_2');
  await settled();
  made[1].answer(404, { code: 'not_found', message: 'There is no such file.' });
  await assert.rejects(refused, { code: 'not_found' });
});

test('the address of a file is one that no name can leave', () => {
  const at = (url, last) => new URL(fileAddress(url, SESSION, last)).pathname;
  assert.equal(at('ws://h/ws/chat', 'a.txt'), '/files/a.txt');
  assert.equal(at('http://h/app/', 'a.txt'), '/app/files/a.txt');
  assert.equal(at('ws://h/ws/chat', '../../etc/passwd'), '/files/.._.._etc_passwd');
  assert.equal(at('ws://h/ws/chat', 'a\ud800b'), '/files/a%EF%BF%BDb');
  for (const name of ['', '.', '..']) assert.equal(at('ws://h/ws/chat', name), '/files/file');
});

test('a link to a file names the session', () => {
  const { chat } = follow();
  assert.equal(chat.fileUrl('file_1'), `https://chat.example/app/files/file_1?session=${SESSION}`);
});
