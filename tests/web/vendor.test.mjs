import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import test from 'node:test';

const FOLDER = new URL('../../agentws/web/vendor/', import.meta.url);
const EXAMPLES = new URL('commonmark/', import.meta.url);

for (const folder of [FOLDER, EXAMPLES]) {
  const read = (name) => readFileSync(new URL(name, folder));
  test(`every file in ${folder.pathname.split('/').at(-2)} has the recorded hash`, () => {
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

const ROOT = new URL('../', FOLDER);
const source = (name) => readFileSync(new URL(name, ROOT)).toString();

/** @returns the files of the package that `names` import, those included */
function imported(...names) {
  const needed = new Set(names);
  for (const name of needed) {
    for (const [, path] of source(name).matchAll(/from\s*['"](\.[^'"]+)['"]/g))
      needed.add(new URL(path, new URL(name, ROOT)).pathname.slice(ROOT.pathname.length));
  }
  return [...needed].sort();
}

test('the npm package lists every file that the client imports', () => {
  const { files } = JSON.parse(source('package.json'));
  assert.deepEqual(
    [...files].sort(),
    imported('client.js', 'react.js', 'client.d.ts', 'react.d.ts'),
  );
});

test('the page preloads every module that it imports', () => {
  const links = source('index.html').matchAll(
    /(?:"modulepreload" href|"module" src)="web\/([^"]+)"/g,
  );
  assert.deepEqual(Array.from(links, ([, name]) => name).sort(), imported('page.js'));
});
