import assert from 'node:assert/strict';
import test from 'node:test';
import { opened } from './chats.mjs';
import { seeded, settled } from './fakes.mjs';

async function reconnect({ clock, network }) {
  const before = network.sockets.length;
  network.last().drop();
  while (network.sockets.length === before) await clock.advance(1_000);
  network.last().welcome({ resume: 'replay' });
  await settled();
}

const post = (seq, topic = 'orders', event = {}) => ({
  id: `top.${seq}.t`,
  topic,
  event: { type: 'notice.posted', content: `${seq}`, level: 'info', timestamp: 7, ...event },
});

/** Answers the last `subscribe` frame. */
function answer(socket, fields = {}) {
  const { id: reply, topic } = socket.sentOf('subscribe').at(-1);
  const frame = { type: 'subscribed', reply, topic, after: 'top.0.', head: 'top.9.t' };
  socket.deliver({ ...frame, resume: 'snapshot', reason: 'no_position', ...fields });
}

function following(chat, topic = 'orders', options = undefined) {
  const states = [];
  const end = chat.follow(topic, (state) => states.push(state), options);
  return { end, states, last: () => states.at(-1) };
}

const contents = ({ posts }) => posts.map(({ content }) => content);

test('a topic is subscribed to, and its posts are shown', async () => {
  const { chat, network } = await opened();
  const orders = following(chat);
  assert.deepEqual(orders.last().posts, []);
  const [frame] = network.last().sentOf('subscribe');
  assert.deepEqual(frame, { type: 'subscribe', id: frame.id, topic: 'orders' });
  answer(network.last());
  network.last().deliver(post(1), post(2, 'orders', { level: 'error', metadata: { n: 1 } }));
  assert.deepEqual(orders.last().posts, [
    { id: 'top.1.t', content: '1', level: 'info', timestamp: 7 },
    { id: 'top.2.t', content: '2', level: 'error', timestamp: 7, metadata: { n: 1 } },
  ]);
  assert.equal(orders.last().position, 'top.2.t');
  const { position, messages } = chat.getSnapshot();
  assert.deepEqual([position, messages.length], ['ep.0.', 0]);
});

test('a topic that is followed before the connection is open is subscribed to by it', async () => {
  const { chat, clock, network } = await opened();
  network.last().drop();
  following(chat, 'orders', { after: 'top.5.t' });
  assert.equal(network.last().sentOf('subscribe').length, 0);
  await clock.advance(1_000);
  network.last().welcome({ resume: 'replay' });
  assert.equal(network.last().sentOf('subscribe')[0].after, 'top.5.t');
});

test('a reconnect resumes at the last position, and keeps what a replay continues', async () => {
  const world = await opened();
  const orders = following(world.chat);
  answer(world.network.last());
  world.network.last().deliver(post(1), post(2));
  await reconnect(world);
  assert.equal(world.network.last().sentOf('subscribe')[0].after, 'top.2.t');
  world.network.last().deliver(post(9));
  answer(world.network.last(), { resume: 'replay', reason: undefined, after: 'top.2.t' });
  world.network.last().deliver(post(3));
  assert.deepEqual([contents(orders.last()), orders.last().reason], [['1', '2', '3'], null]);
});

test('a snapshot replaces the posts, and says why', async () => {
  const world = await opened();
  const orders = following(world.chat);
  answer(world.network.last());
  world.network.last().deliver(post(1));
  await reconnect(world);
  answer(world.network.last(), { reason: 'trimmed' });
  assert.deepEqual([contents(orders.last()), orders.last().reason], [[], 'trimmed']);
  world.network.last().deliver(post(7), post(8));
  assert.deepEqual(contents(orders.last()), ['7', '8']);
  answer(world.network.last(), { reply: undefined, reason: 'trimmed', after: 'top.0.' });
  assert.deepEqual(contents(orders.last()), []);
});

test('several listeners share one subscription, which the last one ends', async () => {
  const { chat, network } = await opened();
  const [one, two] = [following(chat), following(chat)];
  assert.equal(network.last().sentOf('subscribe').length, 1);
  answer(network.last());
  network.last().deliver(post(1));
  const late = following(chat);
  assert.deepEqual(contents(late.last()), ['1']);
  one.end();
  one.end();
  two.end();
  network.last().deliver(post(2));
  assert.deepEqual([contents(one.last()), contents(late.last())], [['1'], ['1', '2']]);
  assert.equal(network.last().sentOf('unsubscribe').length, 0);
  late.end();
  assert.equal(network.last().sentOf('unsubscribe')[0].topic, 'orders');
  network.last().deliver(post(3));
  const again = following(chat);
  network.last().deliver(post(4));
  assert.deepEqual([contents(late.last()), contents(again.last())], [['1', '2'], []]);
});

test('a refusal is told; one for now is asked for again, others on the next connection', async () => {
  const world = await opened();
  const orders = following(world.chat);
  const refuse = (fields) => {
    const { id: reply } = world.network.last().sentOf('subscribe').at(-1);
    world.network.last().deliver({ type: 'error', message: 'No.', reply, ...fields });
  };
  refuse({ code: 'unavailable', retryable: true, retryAfter: 2 });
  assert.equal(orders.last().error.code, 'unavailable');
  assert.equal(world.chat.getSnapshot().notices.length, 0);
  await world.clock.advance(1_900);
  assert.equal(world.network.last().sentOf('subscribe').length, 1);
  await world.clock.advance(200);
  assert.equal(world.network.last().sentOf('subscribe').length, 2);
  refuse({ code: 'forbidden', retryable: false });
  await world.clock.advance(10_000);
  assert.equal(world.network.last().sentOf('subscribe').length, 2);
  await reconnect(world);
  answer(world.network.last());
  assert.equal(orders.last().error, null);
});

test('the posts that are kept are bounded, and a later type of event is skipped', async () => {
  const { chat, network } = await opened();
  const orders = following(chat);
  answer(network.last());
  for (let seq = 1; seq <= 1_010; seq++) network.last().deliver(post(seq));
  network.last().deliver(post(1_011, 'orders', { type: 'later' }));
  const { posts, position } = orders.last();
  assert.deepEqual([posts.length, posts[0].content, position], [1_000, '11', 'top.1011.t']);
});

test('whatever drops and comes back, every post is shown once and in order', async () => {
  for (let seed = 1; seed <= 30; seed++) {
    const world = await opened();
    const random = seeded(seed);
    const orders = following(world.chat);
    let posted = 0;
    const serve = () => {
      const { after } = world.network.last().sentOf('subscribe').at(-1);
      const from = Number(after?.split('.')[1] ?? 0);
      answer(world.network.last(), after ? { resume: 'replay', after, reason: undefined } : {});
      for (let seq = from + 1; seq <= posted; seq++) world.network.last().deliver(post(seq));
    };
    serve();
    for (let step = 0; step < 40; step++) {
      const live = random() < 0.7;
      posted += 1;
      if (live) world.network.last().deliver(post(posted));
      else {
        await reconnect(world);
        serve();
      }
    }
    await reconnect(world);
    serve();
    const expected = Array.from({ length: posted }, (_, n) => `${n + 1}`);
    assert.deepEqual(contents(orders.last()), expected, `seed ${seed}`);
  }
});
