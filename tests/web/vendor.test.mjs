import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';

const FOLDER = new URL('../../agentws/web/vendor/', import.meta.url);
const EXAMPLES = new URL('commonmark/', import.meta.url);

for (const folder of [FOLDER, EXAMPLES]) {
  const read = (name) => readFileSync(new URL(name, folder));
  test(`every file in ${folder.pathname.split('/').at(-2)} is the one that is written down`, () => {
    const rows = [
      ...read('README.md')
        .toString()
        .matchAll(/^\| `([^`]+)`.*`([0-9a-f]{64})` \|$/gm),
    ];
    const recorded = Object.fromEntries(rows.map(([, name, hash]) => [name, hash]));
    const present = readdirSync(folder)
      .filter((name) => name !== 'README.md')
      .sort();
    assert.deepEqual(Object.keys(recorded).sort(), present);
    for (const name of present)
      assert.equal(createHash('sha256').update(read(name)).digest('hex'), recorded[name]);
  });
}

test('the package of the client names every file that the client imports', () => {
  const root = new URL('../', FOLDER);
  const { files } = JSON.parse(readFileSync(new URL('package.json', root)));
  const needed = new Set(['client.js', 'react.js', 'client.d.ts', 'react.d.ts']);
  for (const name of needed) {
    const source = readFileSync(new URL(name, root)).toString();
    for (const [, path] of source.matchAll(/(?:from|import\()\s*'\.\/([^']+)'/g)) needed.add(path);
  }
  assert.deepEqual([...files].sort(), [...needed].sort());
});
