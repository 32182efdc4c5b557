/** Markdown: every example of the CommonMark specification, and incremental parsing. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { parse } from '../../agentws/web/page/blocks.js';
import { GrowingMarkdown, parseWhole } from '../../agentws/web/page/growing.js';
import { decodeHTMLStrict, loadReferences } from '../../agentws/web/page/references.js';
import { ParserBlock } from '../../agentws/web/vendor/markdown-it.js';
import { commonmark } from './commonmark/examples.js';
import { html, withoutLines } from './markup.mjs';

await loadReferences();

const whole = (text) => html(parseWhole(text));
const plain = (text) => textOf(parseWhole(text));

/** Differs from CommonMark: a bare address is a link, and an image without a text shows its address. */
const OURS = new Set([
  '<https://foo.bar/baz bim>\n',
  '< https://foo.bar >\n',
  'https://example.com\n',
  '![](/url)\n',
]);
/** The numbers of the examples that have HTML, or what would be HTML. */
const MARKUP = new Set([21, 31, 201, 308, 309, 344, 475, 476, 477, 491, 494, 524, 536, 617, 623]);
for (const [first, last] of [
  [148, 191],
  [613, 616],
  [625, 631],
  [642, 643],
])
  for (let number = first; number <= last; number++) MARKUP.add(number);
const hasMarkup = (example) => MARKUP.has(commonmark.indexOf(example) + 1);
const shown = commonmark.filter((example) => !OURS.has(example.markdown) && !hasMarkup(example));

function textOf(children) {
  return children
    .map((child) => (typeof child === 'string' ? child : textOf(child.children)))
    .join('');
}

test('nearly all examples of the specification are covered', () => {
  assert.equal(commonmark.length, 652);
  assert.equal(shown.length, 576);
});

for (const section of new Set(shown.map((example) => example.section)))
  test(`CommonMark: ${section}`, () => {
    for (const example of shown.filter((one) => one.section === section))
      assert.equal(
        withoutLines(whole(example.markdown)),
        withoutLines(example.html),
        example.markdown,
      );
  });

test('HTML stays text', () => {
  for (const { markdown } of commonmark.filter(hasMarkup)) {
    const tags = new Set(tagsOf(parseWhole(markdown)));
    assert.ok(plain(markdown).includes('<') || tags.has('a'), markdown);
    for (const tag of tags)
      assert.match(tag, /^(p|h[1-6]|ul|ol|li|blockquote|code-block|code|em|strong|a|hr|br)$/);
  }
  assert.equal(
    whole('a <b>c</b>\n\n<script>x</script>'),
    '<p>a &lt;b&gt;c&lt;/b&gt;</p><p>&lt;script&gt;x&lt;/script&gt;</p>',
  );
});

test('the names of characters are those of HTML', async () => {
  const { decodeHTMLStrict: decode, isIncomplete } = await import(
    /** @type {any} */ ('../../agentws/web/page/references.js?again')
  );
  for (const [name, text] of [
    ['amp', '&'],
    ['nbsp', '\u00a0'],
    ['hellip', '\u2026'],
    ['rarr', '\u2192'],
  ])
    assert.equal(decode(`&${name};`), text);
  assert.ok(!isIncomplete());
  assert.equal(decode('&ngE;'), '&ngE;');
  assert.ok(isIncomplete() && !isIncomplete(), 'the others are loaded by whoever asks for one');
  for (const [name, text] of [
    ['ngE', '\u2267\u0338'],
    ['AMP', '&'],
    ['ZHcy', '\u0416'],
    ['nvlt', '<\u20d2'],
    ['hopf', '\u{1d559}'],
    ['unknown', '&unknown;'],
  ])
    assert.equal(decodeHTMLStrict(`&${name};`), text);
});

function tagsOf(children) {
  return children.flatMap((child) =>
    typeof child === 'string' ? [] : [child.tag, ...tagsOf(child.children)],
  );
}

for (const text of [
  'get_user_name',
  '*.py and *.js',
  'Fact[1]',
  '$HOME and $PATH',
  '2 * 3 * 4 and a_b_c',
  'main.py, README.md and example.com',
  'See https://example.com/a.',
  'See (https://example.com/a).',
  'https://example.com/a%20b?x=[1]&y=*',
  'snake_case_ and [unclosed](http://example.com',
  '1 < 2 && 3 > 2',
  'C:\\temp, 50% ~ 60%, ~/x and #1',
  '"quoted", it\'s -- (c) ...',
  '[ERROR]: timeout\n[INFO]: 12:30',
  'Said before.[^1]\n[^1]: Smith',
  '[^note]: https://example.com/a',
  'Said in (1).\n[1]: https://example.com/a\n[Smith2020]: https://example.com/b "B"',
])
  test(`every character is shown: ${text}`, () => assert.equal(plain(text), text));

test('a source is a link definition if a link uses its label', () => {
  const text = 'Said in (1).\n\n[1]: https://a.example/b';
  assert.equal(
    whole(text.replace('(1)', '[1]')),
    '<p>Said in <a href="https://a.example/b">1</a>.</p>',
  );
  assert.equal(html(parse(text, {})), '<p>Said in (1).</p>', 'a link may still come');
  assert.ok(plain(text).endsWith('[1]: https://a.example/b'));
});

test('a cell beyond the last column is shown', () => {
  assert.equal(
    withoutLines(whole('| a | b |\n|---|--:|\n| 1 | 2 | 3 |\n| `x || y` | or |')),
    '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody>' +
      '<tr><td>1</td><td>2</td><td>3</td></tr><tr><td>`x</td><td></td><td>y`</td><td>or</td></tr></tbody></table>',
  );
});

test('all that stands beside a fence is shown', () => {
  for (const fence of ['```', '~~~']) {
    const [block] = parseWhole(`${fence} js  title="a &amp; b.js" {1}\ncode`);
    assert.deepEqual(block.props, { info: 'js  title="a & b.js" {1}' });
  }
});

test('a bare link ends with its address', () => {
  const addresses = (text) =>
    [...whole(text).matchAll(/href="([^"]*)"/g)].map(([, address]) => address);
  assert.deepEqual(
    addresses('See https://a.example/b. And https://a.example/c, https://a.example/d!'),
    ['https://a.example/b', 'https://a.example/c', 'https://a.example/d'],
  );
  assert.deepEqual(addresses('(https://a.example/b_(c))'), ['https://a.example/b_(c)']);
  assert.deepEqual(addresses('[x](https://a.example/b_(c)) and [y](<https://a.example/ d>)'), [
    'https://a.example/b_(c)',
    'https://a.example/%20d',
  ]);
});

test('the marks of emphasis around an address are not its end', () => {
  for (const [mark, tag] of [
    ['*', 'em'],
    ['_', 'em'],
    ['**', 'strong'],
    ['__', 'strong'],
    ['~~', 's'],
  ])
    for (const [inside, outside] of [
      ['', ''],
      ['.', ''],
      ['', ':'],
      ['', '.)'],
    ])
      assert.equal(
        whole(`${mark}see https://a.example/b${inside}${mark}${outside} c`),
        `<p><${tag}>see <a href="https://a.example/b">https://a.example/b</a>${inside}</${tag}>${outside} c</p>`,
      );
});

test('a word is a link target only if a link uses its label', () => {
  assert.equal(whole('[a b]: word\n\n[A  b]'), '<p><a href="word">A  b</a></p>');
  assert.equal(whole('[a]: word\n\n[b]'), '<p>[a]: word</p><p>[b]</p>');
  assert.equal(whole('[a]: read.me\n[b]: <word>\n[c]: #d'), '');
});

test('a quote inside a list belongs to its item', () => {
  assert.equal(
    withoutLines(whole('- one\n\n  > said\n- two')),
    '<ul><li><p>one</p><blockquote><p>said</p></blockquote></li><li><p>two</p></li></ul>',
  );
});

test('lines may end with LF, CRLF or CR', () => {
  const text = '# a\n\n```py\nb\n\n```\nc\n- d\n';
  for (const end of ['\r\n', '\r']) assert.equal(whole(text.replaceAll('\n', end)), whole(text));
});

test('tables, strikethrough and task lists are rendered', () => {
  assert.equal(
    withoutLines(whole('| a | b |\n|---|--:|\n| `c\\|d` | ~~e~~ |')),
    '<table><thead><tr><th>a</th><th>b</th></tr></thead><tbody><tr><td><code>c|d</code></td><td><s>e</s></td></tr></tbody></table>',
  );
  const [{ children }] = /** @type {any[]} */ (parseWhole('- [ ] a\n- [x] **b**\n- [y] c'));
  assert.deepEqual(
    children.map(({ children: [first] }) => first.props?.checked),
    [false, true, undefined],
  );
  assert.equal(textOf(children), 'abc'.replace('c', '[y] c'));
});

/**
 * Writes `text` in `pieces`, and checks after each that the closed blocks are those of the whole text. A link may
 * be defined later: then only the tags of the blocks are compared.
 */
function grow(text, pieces) {
  const references = {};
  const blocks = parse(text.replace(/\r\n?/g, '\n'), references);
  const comparable =
    Object.keys(references).length > 0 ? (list) => list.map(({ tag }) => tag).join() : html;
  const growing = new GrowingMarkdown();
  for (const piece of pieces) {
    growing.write(piece);
    const { closed } = growing;
    assert.equal(
      comparable(closed),
      comparable(blocks.slice(0, closed.length)),
      JSON.stringify(text),
    );
  }
  if (text.endsWith('\n') && growing.tail === '')
    assert.equal(
      comparable([...growing.closed, ...growing.open]),
      comparable(blocks),
      JSON.stringify(text),
    );
  return growing;
}

test('closed blocks do not change, wherever an example of the specification is cut', () => {
  for (const { markdown } of commonmark) {
    grow(markdown, markdown.split(''));
    for (let cut = 0; cut <= markdown.length; cut++)
      grow(markdown, [markdown.slice(0, cut), markdown.slice(cut)]);
  }
});

const LINES = [
  'a',
  'b *c',
  'd* e',
  '',
  '',
  '- x',
  '- y',
  '  z',
  '    w',
  '1. o',
  '2. p',
  '> q',
  '>',
  '```',
  '~~~',
  '---',
  '===',
  '# h',
  '#',
  'a | b',
  '---|---',
  '|-|',
  'x|y',
  '[foo]: /url',
  "'title",
  "more'",
  '[foo]',
  '[foo]: ',
  '/url',
  '<div>',
  '\tt',
  '   - n',
  '     deep',
  '+ p',
  '***',
  '  ',
  '"t"',
  '[bar]: <x',
  'y>',
  '[a',
  'b]: /u',
  '- ',
  '1)',
  '-',
  '\\',
  '  > q',
  '- > r',
  '- ```',
  '  ```',
  '- # h',
  '| - | - |',
  '*',
  '**b',
  'c**',
];

test('closed blocks do not change, whatever lines follow each other', () => {
  let seed = 7;
  const random = (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
    return Math.floor((seed / 2 ** 32) * below);
  };
  let closed = 0;
  for (let round = 0; round < 4000; round++) {
    const lines = Array.from({ length: 2 + random(12) }, () => LINES[random(LINES.length)]);
    const text = `${lines.join(random(4) ? '\n' : '\r\n')}\n`;
    closed += grow(text, text.split('')).closed.length;
  }
  assert.ok(closed > 4000, 'blocks close while a text grows');
});

test('an ambiguous line is hidden until its next character', () => {
  const growing = new GrowingMarkdown();
  growing.write('These are:\n-');
  assert.equal(html(growing.open), '<p>These are:</p>');
  growing.write(' one');
  assert.equal(withoutLines(html(growing.open)), '<p>These are:</p><ul><li>one</li></ul>');
});

test('a large block is shown completely while it grows', () => {
  for (const line of ['word *em* and more. ', '- an item\n', '| a | b |\n']) {
    const text = `${line === '| a | b |\n' ? '| x | y |\n|---|---|\n' : ''}${line.repeat(600)}`;
    const growing = new GrowingMarkdown();
    for (let at = 0; at < text.length; at += 7) growing.write(text.slice(at, at + 7));
    const letters = (textOf(growing.open) + growing.tail).replace(/\W/g, '');
    assert.equal(letters, text.replace(/\W/g, ''), line);
    assert.ok(growing.tail.length <= text.length / 16);
  }
});

test('the depth of nested elements is bounded', () => {
  const depthOf = (children) =>
    1 +
    Math.max(
      0,
      ...children.map((child) => (typeof child === 'string' ? 0 : depthOf(child.children))),
    );
  const hostile = {
    emphasis: `${'*a **b '.repeat(3000)}${'c** d* '.repeat(3000)}`,
    quotes: '>'.repeat(10_000),
    lists: '- '.repeat(10_000),
    brackets: '['.repeat(10_000),
    images: `${'!['.repeat(3000)}${'](/a)'.repeat(3000)}`,
  };
  for (const [kind, text] of Object.entries(hostile)) {
    const blocks = parseWhole(text);
    assert.ok(depthOf(blocks) < 400, kind);
    if (kind === 'emphasis')
      assert.equal(textOf(blocks).replace(/\W/g, ''), text.replace(/\W/g, ''));
  }
});

test('what is nested too deep is still shown', () => {
  const list = Array.from({ length: 80 }, (_, depth) => `${'  '.repeat(depth)}- item${depth}\n`);
  for (const text of [`${'> '.repeat(150)}said`, `${'- '.repeat(80)}said`, list.join('')])
    assert.equal(plain(text).replace(/\W/g, ''), text.replace(/\W/g, ''));
});

test('parsing a text takes time linear in its length', () => {
  // A text of one block, since closed blocks are not parsed again.
  for (const line of ['word *em* and more. ', '- an item\n', 'x\n\n']) {
    const [short, long] = [12_000, 48_000].map((length) =>
      parsedFor(line.repeat(length / line.length)),
    );
    assert.ok(long / short < 6, `${line}: ${short} and ${long} characters were parsed`);
  }
});

/** @returns how many characters the parser read while `text` arrived */
function parsedFor(text) {
  const { parse: original } = ParserBlock.prototype;
  let parsed = 0;
  ParserBlock.prototype.parse = function (source, ...rest) {
    parsed += source.length;
    return original.call(this, source, ...rest);
  };
  try {
    const growing = new GrowingMarkdown();
    for (let at = 0; at < text.length; at += 16) growing.write(text.slice(at, at + 16));
  } finally {
    ParserBlock.prototype.parse = original;
  }
  return parsed;
}
