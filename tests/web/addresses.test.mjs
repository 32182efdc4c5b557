/** Bare addresses in text. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { addresses } from '../../agentws/web/page/addresses.js';

const found = (text) => addresses.match(text).map(({ url }) => url);

for (const [text, ...expected] of [
  ['See https://a.example/b. Or HTTP://a.example!', 'https://a.example/b', 'HTTP://a.example'],
  ['(https://a.example/b_(c))', 'https://a.example/b_(c)'],
  ['"https://a.example/?q=[1]&r=2", and', 'https://a.example/?q=[1]&r=2'],
  [
    'http://localhost:8000/x http://127.0.0.1 https://[::1]:80/a',
    'http://localhost:8000/x',
    'http://127.0.0.1',
    'https://[::1]:80/a',
  ],
  ['https://b\u00fccher.example/\u00e4?q=\u00df', 'https://b\u00fccher.example/\u00e4?q=\u00df'],
  [
    '<https://a.example/b> and https://a.example/c\u3002',
    'https://a.example/b',
    'https://a.example/c',
  ],
  [
    '\u202bhttps://a.example/b\u202c https://a.example/c\u200f. https://a.example\u200bd \ufeffhttps://a.example/e\ufeff',
    'https://a.example/b',
    'https://a.example/c',
    'https://a.example',
    'https://a.example/e',
  ],
  // A joiner is a letter of a word.
  ['https://fa.example/\u0645\u06cc\u200c\u062e', 'https://fa.example/\u0645\u06cc\u200c\u062e'],
  ['mailto:a.b@c.example.', 'mailto:a.b@c.example'],
  [
    'https://a.example/b: (see https://a.example/c.) **https://a.example/d**: https://a.example/e~~',
    'https://a.example/b',
    'https://a.example/c',
    'https://a.example/d',
    'https://a.example/e',
  ],
  [
    'https://a.example/b_c_ https://a.example/__init__.py__ https://a.example_ https://a.example~~',
    'https://a.example/b_c',
    'https://a.example/__init__.py',
    'https://a.example',
    'https://a.example',
  ],
  [
    'https://a.example/b...c https://a.example/?d=e:f,g;h!i https://a.example/~j/*k https://a.example/l?!',
    'https://a.example/b...c',
    'https://a.example/?d=e:f,g;h!i',
    'https://a.example/~j/*k',
    'https://a.example/l',
  ],
  ['https://a.example:65535 https://a.example:65536', 'https://a.example:65535'],
  ['xhttps://a.example _https://a.example'],
  ['javascript:alert(1) data:text/html,x ftp://a.example //a.example www.a.example a@b.example'],
  ['https://user:secret@a.example/b https://token@a.example https://user:$x@a.example/b'],
  ['https://a.example/@b:c https://a.example@', 'https://a.example/@b:c', 'https://a.example'],
  ['https:// https://. https://- https://_a http:/a mailto:a mailto:@b'],
])
  test(`the addresses in ${text}`, () => {
    assert.deepEqual(found(text), expected);
    assert.equal(addresses.test(text), expected.length > 0);
    assert.equal(addresses.test(text), expected.length > 0, 'nothing is kept between calls');
  });

test('an address at the start has a host', () => {
  assert.deepEqual(addresses.matchAtStart('https://a.example/b_c, d'), {
    url: 'https://a.example/b_c',
  });
  for (const text of ['mailto:a@b.example', ' https://a.example', 'https://', 'x'])
    assert.equal(addresses.matchAtStart(text), null);
});

test('a hostile text takes no long time', () => {
  const begun = performance.now();
  for (const piece of [
    'a.',
    'a-',
    '(',
    '([{',
    '"\'',
    '!',
    '.',
    '*a',
    '_',
    'https://a/',
    'mailto:a@',
  ])
    for (const start of ['https://a/', 'https://', 'mailto:a@', ''])
      found(`${start}${piece.repeat(5000)} ${start}${piece.repeat(5000)}x`);
  // Milliseconds, where a busy machine takes half a second.
  assert.ok(performance.now() - begun < 10_000);
});
