import assert from 'node:assert/strict';
import test from 'node:test';
import { connect } from '../../agentws/web/client.js';
import { FakeClock, FakeDocument, fakeNetwork, settled } from './fakes.mjs';

/** A client with its own clock and network, before the handshake. */
async function begin(options = {}) {
  const clock = new FakeClock();
  const network = fakeNetwork();
  const signals = { window: new EventTarget(), document: new FakeDocument() };
  const chat = connect('wss://example.test/ws/chat', {
    clock,
    signals,
    WebSocket: network.WebSocket,
    random: () => 0.5,
    ...options,
  });
  await settled();
  return {
    chat,
    clock,
    network,
    signals,
    signal: (name) => signals.window.dispatchEvent(new Event(name)),
  };
}

/** The same, after the handshake. */
async function opened(options) {
  const world = await begin(options);
  world.network.last().welcome();
  return world;
}

const event = (seq, fields, run) => ({ id: `ep.${seq}.t`, ...(run && { run }), event: fields });
const connection = ({ chat }) => chat.getSnapshot().connection;

test('it requests the native wire, and is open after the welcome', async () => {
  const world = await begin();
  const socket = world.network.last();
  assert.deepEqual(socket.protocols, ['agentws.v1']);
  assert.equal(socket.url.href, 'wss://example.test/ws/chat');
  assert.equal(connection(world), 'connecting');
  socket.welcome();
  assert.equal(connection(world), 'open');
  assert.equal(world.chat.session, 'ses_1');
});

test('an http address becomes a WebSocket address', async () => {
  const { network } = await begin({ session: 'ses_mine', agent: 'helper' });
  assert.equal(network.last().url.searchParams.get('session'), 'ses_mine');
  assert.equal(network.last().url.searchParams.get('agent'), 'helper');
});

test('every attempt gets a new token and sends it as a subprotocol', async () => {
  const tokens = ['first?>', 'second'];
  const { network, clock } = await opened({ getToken: async () => tokens.shift() });
  assert.deepEqual(network.last().protocols, ['agentws.v1', 'agentws.bearer.Zmlyc3Q_Pg']);
  network.last().drop();
  await clock.advance(0);
  assert.equal(network.last().protocols[1], 'agentws.bearer.c2Vjb25k');
});

for (const url of ['ws://[bad', () => 'ws://[bad', 'mailto:me@example.test']) {
  test(`an invalid address is not retried: ${url}`, async () => {
    class Strict {
      constructor(address) {
        if (!address.startsWith('ws')) throw new DOMException('no such scheme', 'SyntaxError');
      }
    }
    const clock = new FakeClock();
    const chat = connect(url, { clock, signals: {}, WebSocket: /** @type {any} */ (Strict) });
    await clock.advance(60_000);
    const { connection: state, error } = chat.getSnapshot();
    assert.deepEqual([state, error.code, error.retryable], ['closed', 'bad_url', false]);
    assert.equal(clock.pending, 0);
  });
}

test('an address that a secure page may not open is not retried', async () => {
  class Insecure {
    constructor() {
      throw new DOMException('plain text from a secure page', 'SecurityError');
    }
  }
  const world = await begin({ WebSocket: Insecure });
  assert.equal(connection(world), 'closed');
});

test('a failing url function is called again', async () => {
  const clock = new FakeClock();
  const network = fakeNetwork();
  const answers = [() => JSON.parse('<html>'), () => Promise.reject(new TypeError('no network'))];
  const url = () => (answers.shift() ?? (() => 'wss://example.test/ws/chat'))();
  connect(url, { clock, signals: {}, WebSocket: network.WebSocket, random: () => 0.5 });
  await clock.advance(1_000);
  assert.equal(network.sockets.length, 1);
});

test('a failing getToken is called again', async () => {
  let fails = 1;
  const getToken = () => (fails-- > 0 ? Promise.reject(new Error('no network')) : 'token');
  const { network, clock } = await begin({ getToken });
  assert.equal(network.sockets.length, 0);
  await clock.advance(0);
  assert.equal(network.sockets.length, 1);
});

test('after a drop it reconnects at once, with the session and the last position', async () => {
  const world = await opened();
  world.network.last().deliver(event(7, { type: 'notice.posted', content: 'x', level: 'info' }));
  world.network.last().drop();
  assert.equal(connection(world), 'reconnecting');
  await world.clock.advance(0);
  const { searchParams } = world.network.last().url;
  assert.deepEqual([searchParams.get('session'), searchParams.get('after')], ['ses_1', 'ep.7.t']);
});

test('failed attempts use exponential backoff', async () => {
  const { network, clock } = await opened();
  const waits = [];
  for (let attempt = 0; attempt < 6; attempt++) {
    const before = clock.now();
    const count = network.sockets.length;
    network.last().drop();
    while (network.sockets.length === count) await clock.advance(50);
    waits.push(clock.now() - before);
  }
  assert.deepEqual(waits, [50, 150, 300, 600, 1200, 2400]);
});

for (const { seconds, retry } of [
  { seconds: 9.9, retry: 'late' },
  { seconds: 10, retry: 'at once' },
]) {
  test(`after failures and then ${seconds} seconds of connection it reconnects ${retry}`, async () => {
    const { network, clock } = await opened();
    network.last().drop();
    await clock.advance(0);
    network.last().welcome({ resume: 'replay' });
    await clock.advance(seconds * 1000);
    network.last().drop();
    await clock.advance(0);
    assert.equal(network.sockets.length, retry === 'late' ? 2 : 3);
  });
}

test('a handshake that does not end times out', async () => {
  const { network, clock } = await begin();
  await clock.advance(10_000);
  assert.equal(network.sockets[0].closedWith, 1000);
  await clock.advance(0);
  assert.equal(network.sockets.length, 2);
});

for (const [code, name] of [
  [1008, 'forbidden'],
  [4400, 'bad_request'],
  [4401, 'unauthenticated'],
  [4403, 'forbidden'],
  [4404, 'not_found'],
  [4409, 'conflict'],
  [4413, 'too_large'],
  [4499, 'close_4499'],
]) {
  test(`close code ${code} is fatal`, async () => {
    const world = await begin();
    world.network.last().drop(code, 'no');
    await world.clock.advance(60_000);
    assert.equal(world.network.sockets.length, 1);
    assert.equal(connection(world), 'closed');
    assert.deepEqual(world.chat.getSnapshot().error, {
      code: name,
      message: 'no',
      retryable: false,
    });
    assert.equal(world.clock.pending, 0);
  });
}

for (const code of [1000, 1001, 1005, 1006, 1011, 1012, 1013, 4408, 4429, 4500, 4503]) {
  test(`close code ${code} is retried`, async () => {
    const world = await opened();
    world.network.last().drop(code);
    await world.clock.advance(20_000);
    assert.equal(world.network.sockets.length > 1, true);
  });
}

test('a busy server is not retried at once', async () => {
  const { network, clock } = await opened();
  network.last().drop(4503);
  await clock.advance(100);
  assert.equal(network.sockets.length, 1);
  await clock.advance(100);
  assert.equal(network.sockets.length, 2);
});

test('a bye or an error before the close decides whether to retry', async () => {
  const end = await opened();
  const bye = { type: 'bye', code: 1012, reason: 'moved', retryable: false };
  end.network.last().deliver({ ...bye, message: 'It is elsewhere now.' });
  end.network.last().drop(1012);
  assert.equal(connection(end), 'closed');
  assert.deepEqual(end.chat.getSnapshot().error, {
    code: 'moved',
    message: 'It is elsewhere now.',
    retryable: false,
  });

  const back = await opened();
  back.network.last().deliver({
    type: 'error',
    code: 'forbidden',
    message: 'not yet',
    retryable: true,
    retryAfter: 5,
  });
  back.network.last().drop(4403);
  await back.clock.advance(4_900);
  assert.equal(back.network.sockets.length, 1);
  await back.clock.advance(300);
  assert.equal(back.network.sockets.length, 2);
});

test('an error that another frame followed does not decide about the drop', async () => {
  const { network, clock } = await opened();
  network
    .last()
    .deliver({ type: 'error', code: 'bad_request', message: 'what?', retryable: false });
  network.last().deliver({ type: 'pong' });
  network.last().drop(1006);
  await clock.advance(0);
  assert.equal(network.sockets.length, 2);
});

test('an error decides only about a close that follows within a second', async () => {
  const { network, clock } = await opened();
  network
    .last()
    .deliver({ type: 'error', code: 'bad_request', message: 'what?', retryable: false });
  await clock.advance(1_000);
  network.last().drop(1012);
  await clock.advance(0);
  assert.equal(network.sockets.length, 2);
});

test('an expired token is renewed', async () => {
  const { network, clock } = await opened({ getToken: () => 'token' });
  network.last().drop(4401, 'expired');
  await clock.advance(0);
  assert.equal(network.sockets.length, 2);
  network.last().drop(4401, 'expired');
  await clock.advance(20_000);
  assert.equal(network.sockets.length, 2, 'fresh ones that are refused are refused');
});

test('reconnect() retries after a fatal refusal', async () => {
  const world = await begin();
  world.network.last().drop(4403);
  world.chat.reconnect();
  await settled();
  world.network.last().welcome();
  assert.equal(connection(world), 'open');
  assert.equal(world.chat.getSnapshot().error, null);
});

test('an idle connection gets a ping, and is replaced when nothing answers (half-open connection)', async () => {
  const { network, clock } = await opened();
  await clock.advance(19_999);
  assert.equal(network.last().sentOf('ping').length, 0);
  await clock.advance(1);
  assert.equal(network.last().sentOf('ping').length, 1);
  network.last().deliver({ type: 'pong' });
  await clock.advance(19_999);
  assert.equal(network.sockets.length, 1);
  await clock.advance(1);
  assert.equal(network.last().sentOf('ping').length, 2);
  await clock.advance(3_000);
  assert.equal(network.sockets[0].closedWith, 1000);
  await clock.advance(0);
  assert.equal(network.sockets.length, 2);
});

test('a connection on which frames arrive gets no ping', async () => {
  const { network, clock } = await opened();
  for (let second = 0; second < 60; second++) {
    await clock.advance(1_000);
    network.last().deliver(event(second + 1, { type: 'history.cleared' }));
  }
  assert.equal(network.last().sentOf('ping').length, 0);
});

test('an idle connection gets a ping in time after the clock was set back', async () => {
  const { network, clock } = await opened();
  clock.setBack(3_600_000);
  await clock.advance(20_000);
  assert.equal(network.last().sentOf('ping').length, 1);
  network.last().deliver({ type: 'pong' });
  clock.setBack(15_000);
  await clock.advance(35_000);
  assert.equal(network.last().sentOf('ping').length, 2);
});

test('events of a replaced socket are ignored', async () => {
  const world = await opened();
  const [old] = world.network.sockets;
  world.chat.reconnect();
  await settled();
  world.network.last().welcome();
  old.deliver(event(1, { type: 'notice.posted', content: 'late', level: 'info' }));
  old.drop(4403);
  assert.deepEqual(world.chat.getSnapshot().messages, []);
  assert.equal(connection(world), 'open');
});

test('offline is shown at once, until the connection answers a ping', async () => {
  const world = await opened();
  world.signal('offline');
  assert.equal(connection(world), 'offline');
  assert.equal(world.network.last().sentOf('ping').length, 1);
  world.network.last().deliver({ type: 'pong' });
  assert.equal(connection(world), 'open');
});

test('a connection that is really offline reconnects as soon as the network is back', async () => {
  const world = await opened();
  world.signal('offline');
  await world.clock.advance(3_000);
  assert.equal(connection(world), 'offline');
  assert.equal(world.network.sockets.length, 1);
  world.signal('online');
  await settled();
  assert.equal(world.network.sockets.length, 2);
  assert.equal(connection(world), 'reconnecting');
  world.network.last().welcome({ resume: 'replay' });
  assert.equal(connection(world), 'open');
});

test('a page that becomes visible sends a ping, or reconnects without waiting', async () => {
  const { network, clock, signals } = await opened();
  signals.document.dispatchEvent(new Event('visibilitychange'));
  assert.equal(network.last().sentOf('ping').length, 1);
  await clock.advance(3_000);
  await clock.advance(0);
  network.last().drop();
  assert.equal(network.sockets.length, 2);
  signals.document.dispatchEvent(new Event('visibilitychange'));
  await settled();
  assert.equal(network.sockets.length, 3);
});

for (const hint of ['visibilitychange', 'online']) {
  test(`an immediate attempt (${hint}) replaces the scheduled one`, async () => {
    const { chat, network, clock, signals } = await opened();
    for (let attempt = 0; attempt < 3; attempt++) {
      network.last().drop();
      await clock.advance(attempt < 2 ? 1_000 : 10);
    }
    assert.equal(chat.getSnapshot().connection, 'reconnecting');
    const target = hint === 'online' ? signals.window : signals.document;
    target.dispatchEvent(new Event(hint));
    await settled();
    const count = network.sockets.length;
    network.last().welcome({ resume: 'replay' });
    await clock.advance(5_000);
    assert.equal(network.sockets.length, count);
    assert.deepEqual(
      network.sockets.slice(0, -1).filter(({ readyState }) => readyState < 2),
      [],
    );
  });
}

test('a hidden page closes its socket, and reconnects when it is shown again', async () => {
  const world = await opened();
  world.signal('pagehide');
  assert.equal(world.network.last().closedWith, 1000);
  assert.equal(world.clock.pending, 0);
  world.signal('pageshow');
  await settled();
  assert.equal(world.network.sockets.length, 2);
});

test('after close() nothing reconnects until open()', async () => {
  const world = await opened();
  world.chat.close();
  world.signal('online');
  world.signal('pageshow');
  await world.clock.advance(60_000);
  assert.equal(world.network.sockets.length, 1);
  assert.equal(world.clock.pending, 0);
  world.chat.open();
  await settled();
  assert.equal(world.network.sockets.length, 2);
});
