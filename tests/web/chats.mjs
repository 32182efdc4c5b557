/** An opened chat over a fake network, what the server sends to it, and what it shows. */
import { connect } from '../../agentws/web/client.js';
import { FakeClock, fakeNetwork, settled } from './fakes.mjs';

/** @param {any} [options] */
export async function opened({ welcome, ...options } = {}) {
  const clock = new FakeClock();
  const network = fakeNetwork();
  let ids = 0;
  const chat = connect('wss://example.test/ws/chat', {
    clock,
    WebSocket: network.WebSocket,
    random: () => 0.5,
    signals: {},
    newId: () => `id${++ids}`,
    ...options,
  });
  await settled();
  network.last().welcome(welcome);
  return { chat, clock, network, socket: network.last() };
}

export async function again({ network, clock }, fields) {
  network.last().drop();
  await clock.advance(1_000);
  network.last().welcome({ resume: 'replay', ...fields });
  return network.last();
}

export const event = (seq, fields, run) => ({
  id: `ep.${seq}.t`,
  ...(run && { run }),
  event: fields,
});
export const acceptedEvent = (seq, id, content) =>
  event(seq, {
    type: 'message.accepted',
    message: { id, role: 'user', content },
    overlap: 'queue',
  });
export const started = (seq, run, id, content) =>
  event(
    seq,
    {
      type: 'RUN_STARTED',
      threadId: 'ses_1',
      runId: run,
      input: { messages: [{ id, role: 'user', content }] },
    },
    run,
  );
export const text = (seq, run, ...deltas) => [
  event(seq, { type: 'TEXT_MESSAGE_START', messageId: `${run}-a` }, run),
  ...deltas.map((delta, n) =>
    event(seq + 1 + n, { type: 'TEXT_MESSAGE_CONTENT', messageId: `${run}-a`, delta }, run),
  ),
];
export const shown = (chat) =>
  chat.getSnapshot().messages.map(({ text: shownText, status }) => [shownText, status]);

export const refusal = (reply, code, fields) => ({
  type: 'error',
  reply,
  code,
  message: 'No.',
  retryable: true,
  ...fields,
});
/** A minute in which the server answers every ping. */
export async function minute({ socket, clock }) {
  for (let part = 0; part < 6; part++) {
    await clock.advance(10_000);
    socket.deliver({ type: 'pong' });
  }
}
export const contents = (socket) => socket.sentOf('send').map(({ content }) => content);
