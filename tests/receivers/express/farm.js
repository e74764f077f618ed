// Serves every receiver of this folder at /<provider>/<name>, each as an application of its own. In a receiver a line
// `//= FILE` stands for that snippet of tests/fixtures/documents, as it is printed there.

const express = require('express');
const fs = require('fs');
const path = require('path');
const vm = require('vm');

const root = path.join(__dirname, '../../..');
const documents = path.join(root, 'tests/fixtures/documents');
const snippet = (_, name) => fs.readFileSync(path.join(documents, name), 'utf8');

/**
 * The application that a receiver makes. `esm` imports a file of the checkout. What it pushes to `seen` can be read at
 * /<provider>/<name>/seen.
 */
function load(file, seen) {
  let made;
  const application = Object.assign(() => {
    made = express();
    made.listen = () => {};
    return made;
  }, express);
  const source = fs.readFileSync(file, 'utf8').replace(/^ *\/\/= (\S+)$/gm, snippet);
  const run = vm.compileFunction(source, ['require', 'esm', 'seen'], { filename: file });
  run((name) => (name === 'express' ? application : require(name)), (name) => import(path.join(root, name)), seen);
  return made;
}

const farm = express();
for (const folder of fs.readdirSync(__dirname, { withFileTypes: true })) {
  if (!folder.isDirectory() || folder.name === 'node_modules') continue;
  for (const file of fs.readdirSync(path.join(__dirname, folder.name))) {
    const seen = [];
    const place = `/${folder.name}/${path.parse(file).name}`;
    farm.get(`${place}/seen`, (_, res) => res.json(seen));
    farm.use(place, load(path.join(__dirname, folder.name, file), seen));
  }
}
const server = farm.listen(0, '127.0.0.1', () => console.log(`listening on ${server.address().port}`));
