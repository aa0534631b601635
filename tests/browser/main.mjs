// Tries pages in browsers: `node main.mjs FOLDER CHROMIUM FIREFOX`. FOLDER has the pages; what is made besides goes to FOLDER/work. `cargo xtask pages` calls it.
// The two browsers go on side by side. Says what was done, and what is wrong; the exit code is 1 if anything is.

import { mkdir, readdir, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { SETTINGS, called, start } from './browsers.mjs';
import { checked } from './checked.mjs';
import { selfTested } from './selftest.mjs';
import { valid } from './checks/valid.mjs';

/** Longer than everything takes on a busy machine, in ms. */
const DEADLINE_MS = 10 * 60_000;

/** The page that has everything that can be used: a table, a button that saves, places to point at. */
const FULL = 'incident.html';

const [folder, ...programs] = process.argv.slice(2);
if (programs.length !== 2) throw new Error('usage: node main.mjs FOLDER CHROMIUM FIREFOX');
setTimeout(() => {
  console.error(`the browsers did not come to an end in ${DEADLINE_MS / 60_000} minutes`);
  process.exit(1);
}, DEADLINE_MS).unref();

const files = (await readdir(folder)).filter(name => name.endsWith('.html')).sort().map(name => join(folder, name));
const full = files.find(file => basename(file) === FULL);
if (!full) throw new Error(`${FULL} is not in ${folder}`);
const work = join(folder, 'work');
await rm(work, { recursive: true, force: true });

const html = async () => (await Promise.all(files.map(async file => (await valid(file)).map(fault => `${basename(file)}: ${fault}`)))).flat();
const lines = ['chromium', 'firefox'].map((name, at) => inBrowser(name, programs[at]));
const faults = (await Promise.all([html(), ...lines])).flat();
for (const fault of faults) console.log(`WRONG: ${fault}`);
console.log(faults.length === 0 ? `nothing is wrong with ${files.length} pages` : `${faults.length} faults`);
process.exitCode = faults.length === 0 ? 0 : 1;

/** All pages with each setting of one browser, and then whether this finds what is wrong. */
async function inBrowser(name, program) {
  const faults = [];
  // What each page shows with JavaScript, for those without.
  const whole = new Map();
  for (const [at, setting] of SETTINGS.entries()) {
    const begin = Date.now();
    const place = join(work, `${name}-${at}`);
    await mkdir(place, { recursive: true });
    const browser = await start(name, program, setting, place);
    try {
      const done = [];
      for (const file of files) {
        const found = await checked(browser, file, place, whole, file === full);
        faults.push(...found.faults.map(fault => `${basename(file)}, ${name}, ${called(setting)}: ${fault}`));
        done.push(found.done);
      }
      const tests = await selfTested(browser, full, place, whole);
      faults.push(...tests.faults.map(fault => `the tests themselves, ${name}, ${called(setting)}: ${fault}`));
      const seconds = ((Date.now() - begin) / 1000).toFixed(1);
      console.log(`${browser.version}, ${called(setting)}: ${files.length} pages, ${summed(done)}${tests.tried} faults made on purpose (${seconds} s)`);
    } finally {
      await browser.close();
    }
  }
  return faults;
}

/** How much was tried on all pages: a test that tries nothing is seen here. */
function summed(done) {
  const sums = {};
  for (const one of done) for (const [what, count] of Object.entries(one)) sums[what] = (sums[what] ?? 0) + count;
  return Object.entries(sums).map(([what, count]) => `${count} ${what}, `).join('');
}
