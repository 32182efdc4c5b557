/** Requests to the server: each is a frame, and has an answer. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { RequestError } from '../../agentws/web/client.js';
import { again, opened, refusal, shown, started } from './chats.mjs';
import { settled } from './fakes.mjs';

test('edit() and regenerate() send their frames', async () => {
  const { chat, socket } = await opened();
  chat.edit('u1', 'Hello again', { id: 'u2', metadata: { a: 1 } });
  chat.regenerate('u1');
  chat.regenerate();
  assert.deepEqual(socket.sentOf('edit'), [
    {
      type: 'edit',
      id: 'u2',
      message: 'u1',
      content: 'Hello again',
      metadata: { a: 1 },
    },
  ]);
  assert.deepEqual(
    socket.sentOf('regenerate').map(({ message }) => message),
    ['u1', undefined],
  );
});

test('stop() names the run, and is sent again until it is answered', async () => {
  const world = await opened();
  world.socket.deliver(started(1, 'r1', 'u1', 'Hi'));
  const reply = world.chat.stop();
  const [frame] = world.socket.sentOf('cancel');
  assert.equal(frame.run, 'r1');
  const second = await again(world);
  assert.deepEqual(second.sentOf('cancel'), [frame]);
  second.deliver({ type: 'accepted', reply: frame.id, position: 'ep.2.t', durability: 'disk' });
  assert.equal((await reply).position, 'ep.2.t');
});

test('stop() before the run has begun names the message', async () => {
  const { chat, socket } = await opened();
  const id = chat.send('Hi');
  chat.stop();
  assert.equal(socket.sentOf('cancel')[0].message, id);
});

test('stop() sends nothing when there is nothing to stop', async () => {
  const world = await opened();
  world.network.last().drop();
  assert.equal(await world.chat.stop(), null);
  world.chat.send('Hi');
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(
    world.network.last().sent.map(({ type }) => type),
    ['send'],
  );
});

test('a message that was never sent is withdrawn at once', async () => {
  const world = await opened();
  world.network.last().drop();
  assert.equal(await world.chat.withdraw(world.chat.send('Hi')), null);
  await world.clock.advance(0);
  world.network.last().welcome({ resume: 'replay' });
  assert.deepEqual(world.network.last().sent, []);
  const held = world.chat.send('and this');
  world.network.last().deliver(refusal(held, 'too_many'));
  assert.equal(await world.chat.withdraw(held), null, 'nor what was refused');
});

test('a message that was lost on its way is withdrawn, one whose run has begun is not', async () => {
  for (const begun of [false, true]) {
    const world = await opened();
    const id = world.chat.send('Hi');
    world.network.last().drop();
    const reply = world.chat.withdraw(id);
    await world.clock.advance(0);
    const socket = world.network.last();
    socket.welcome({ resume: 'replay' });
    const [frame] = socket.sentOf('withdraw');
    if (begun) socket.deliver(started(1, 'r1', id, 'Hi'));
    socket.deliver(refusal(frame.id, 'not_found', { retryable: false }));
    if (begun) await assert.rejects(reply, { code: 'not_found' });
    else assert.equal(await reply, null);
  }
});

test("withdraw() removes a message from the outbox and from the server's queue", async () => {
  const { chat, socket } = await opened();
  const id = chat.send('Hi');
  chat.withdraw(id);
  assert.deepEqual(shown(chat), []);
  assert.equal(socket.sentOf('withdraw')[0].message, id);
});

test('a queued message is edited and promoted by frames', async () => {
  const { chat, socket } = await opened();
  chat.editQueued('m1', 'other', { attachments: [] });
  chat.promote('m1');
  assert.deepEqual(
    socket.sent.map(({ id, ...frame }) => frame),
    [
      { type: 'edit_queued', message: 'm1', content: 'other', attachments: [] },
      { type: 'promote', message: 'm1' },
    ],
  );
});

test('presence is asked for once, again after a reconnect, and shown until it is not wanted', async () => {
  const opening = await opened();
  const { chat, socket } = opening;
  const seen = [];
  const end = chat.watchPresence(({ connections }) => seen.push(connections));
  const [{ id, ...frame }] = socket.sent;
  assert.deepEqual(frame, { type: 'presence', watch: true });
  socket.deliver({ type: 'presence', connections: 1, members: [], reply: id });
  socket.deliver({ type: 'presence', connections: 2, members: [{ id: 'ada', connections: 2 }] });
  assert.deepEqual(seen, [1, 2]);
  const next = await again(opening, {});
  assert.deepEqual(
    next.sentOf('presence').map(({ watch }) => watch),
    [true],
  );
  end();
  end();
  assert.deepEqual(
    next.sentOf('presence').map(({ watch }) => watch),
    [true, false],
  );
  next.deliver({ type: 'presence', connections: 9, members: [] });
  assert.deepEqual(seen, [1, 2]);
});

test('an answer, a tool result and a command are sent as frames, and a refusal rejects', async () => {
  const { chat, socket } = await opened();
  const answer = chat.answer('i1', { ok: true });
  chat.toolResult('c1', { content: 'found' });
  chat.command('clear');
  assert.deepEqual(
    socket.sent.map(({ id, ...frame }) => frame),
    [
      { type: 'answer', interrupt: 'i1', status: 'resolved', payload: { ok: true } },
      { type: 'tool_result', toolCallId: 'c1', content: 'found' },
      { type: 'command', name: 'clear' },
    ],
  );
  socket.deliver({
    type: 'error',
    reply: socket.sent[0].id,
    code: 'already_answered',
    message: 'Too late.',
    retryable: false,
  });
  await assert.rejects(
    answer,
    (error) => error instanceof RequestError && error.code === 'already_answered',
  );
});

test('a change of the state is sent as a patch, and again after a reconnect', async () => {
  const world = await opened();
  /** @type {import("../../agentws/web/client.js").Operation[]} */
  const patch = [{ op: 'test', path: '/a', value: 1 }];
  world.chat.patchState(patch);
  world.chat.setState({ a: 2 });
  const patches = (socket) => socket.sentOf('state').map(({ id, patch }) => [id, patch]);
  const sent = patches(world.socket);
  assert.deepEqual(
    sent.map(([, patch]) => patch),
    [patch, [{ op: 'add', path: '', value: { a: 2 } }]],
  );
  assert.deepEqual(patches(await again(world)), sent);
});

test('a tool of the client is called once for each open call, and its result is sent', async () => {
  const { chat, socket } = await opened();
  const seen = [];
  const end = chat.tool('locate', (args) => {
    seen.push(args);
    if (args.fails) throw new Error('no signal');
    return { city: 'Rome' };
  });
  let seq = 0;
  const event = (event, run) => socket.deliver({ id: `ep.${++seq}.t`, run, event });
  const ask = (call, args) => {
    event({ type: 'RUN_STARTED', threadId: 's', runId: call }, call);
    event({ type: 'TOOL_CALL_START', toolCallId: call, toolCallName: 'locate' }, call);
    event({ type: 'TOOL_CALL_ARGS', toolCallId: call, delta: JSON.stringify(args) }, call);
    event({ type: 'TOOL_CALL_END', toolCallId: call }, call);
    const metadata = { agentws: { tool: 'locate' } };
    const asked = { id: call, reason: 'agentws:client_tool', toolCallId: call, metadata };
    const outcome = { type: 'interrupt', interrupts: [asked] };
    event({ type: 'RUN_FINISHED', threadId: 's', runId: call, outcome }, call);
  };
  ask('c1', { exact: true });
  ask('c2', { fails: true });
  await settled();
  end();
  ask('c3', {});
  await settled();
  assert.deepEqual(seen, [{ exact: true }, { fails: true }]);
  assert.deepEqual(
    socket
      .sentOf('tool_result')
      .map(({ id, ...frame }) => frame)
      .sort((left, right) => (left.toolCallId < right.toolCallId ? -1 : 1)),
    [
      { type: 'tool_result', toolCallId: 'c1', content: '{"city":"Rome"}' },
      { type: 'tool_result', toolCallId: 'c2', error: 'no signal' },
    ],
  );
});

test('a tool may return the numbers that it was given', async () => {
  const { chat, socket } = await opened();
  chat.tool('locate', (args) => ({ of: args }));
  const metadata = { agentws: { tool: 'locate' } };
  const asked = { id: 'c1', reason: 'agentws:client_tool', toolCallId: 'c1', metadata };
  const outcome = { type: 'interrupt', interrupts: [asked] };
  const args = '{"id":9007199254740993,"price":10.00}';
  for (const [seq, event] of [
    { type: 'RUN_STARTED', threadId: 's', runId: 'r1' },
    { type: 'TOOL_CALL_START', toolCallId: 'c1', toolCallName: 'locate' },
    { type: 'TOOL_CALL_ARGS', toolCallId: 'c1', delta: args },
    { type: 'RUN_FINISHED', threadId: 's', runId: 'r1', outcome },
  ].entries())
    socket.deliver({ id: `ep.${seq}.t`, run: 'r1', event });
  await settled();
  assert.equal(socket.sentOf('tool_result')[0].content, `{"of":${args}}`);
});

test('a result of a tool that is refused is followed by an error, but not one that came late', async () => {
  for (const [code, sent] of [
    ['bad_request', [undefined, 'The result: No.']],
    ['too_large', [undefined, 'The result: No.']],
    ['already_answered', [undefined]],
  ]) {
    const { chat, socket } = await opened();
    chat.tool('locate', () => undefined);
    const metadata = { agentws: { tool: 'locate' } };
    const asked = { id: 'c1', reason: 'agentws:client_tool', toolCallId: 'c1', metadata };
    const outcome = { type: 'interrupt', interrupts: [asked] };
    const start = { type: 'RUN_STARTED', threadId: 's', runId: 'r1' };
    socket.deliver({ id: 'ep.1.t', run: 'r1', event: start });
    socket.deliver({ id: 'ep.2.t', run: 'r1', event: { ...start, type: 'RUN_FINISHED', outcome } });
    await settled();
    const [{ id, content }] = socket.sentOf('tool_result');
    assert.equal(content, 'null');
    socket.deliver({ type: 'error', reply: id, code, message: 'No.', retryable: false });
    await settled();
    assert.deepEqual(
      socket.sentOf('tool_result').map(({ error }) => error),
      sent,
    );
  }
});

test('close() rejects unanswered requests', async () => {
  const { chat } = await opened();
  const reply = chat.answer('i1');
  chat.close();
  await assert.rejects(reply, { code: 'closed' });
});
