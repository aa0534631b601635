// A test that cannot fail is none: pages with a fault each, which the check that is for it has to find.

import { createHash } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { accessible } from './checks/accessible.mjs';
import { fits } from './checks/fits.mjs';
import { points } from './checks/points.mjs';
import { policy } from './checks/policy.mjs';
import { prints } from './checks/prints.mjs';
import { reads, seen } from './checks/reads.mjs';
import { saves } from './checks/saves.mjs';
import { sorts } from './checks/sorts.mjs';
import { valid } from './checks/valid.mjs';
import { zooms } from './checks/zooms.mjs';
import { visit } from './visit.mjs';

const LIGHT = { dark: false, script: true };
const DARK = { dark: true, script: true };
const WITHOUT = { dark: false, script: false };

const style = text => page => page.replace('</style>', () => `${text}</style>`);
const script = text => page => page.replace(/<\/script>(?![^]*<\/script>)/, () => `${text}</script>`);
const body = text => page => page.replace('<main>', () => `<main>${text}`);
const without = text => page => page.replace(text, '');
const noPolicy = without(/<meta http-equiv="Content-Security-Policy"[^>]*>/);

// The check, what has to be among what it says, what is done to the page.
const FAULTS = [
  [LIGHT, 'quiet', /img-src/, body('<img alt="" src="http://nowhere.invalid/">')],
  [LIGHT, 'quiet', /console/, script('console.warn("x");')],
  [LIGHT, 'quiet', /error/i, script('setTimeout(() => { throw new Error("x"); });')],
  [LIGHT, 'quiet', /asks for/, page => noPolicy(body('<img alt="" src="http://nowhere.invalid/">')(page))],
  [WITHOUT, 'quiet', /img-src/, body('<img alt="" src="http://nowhere.invalid/">')],
  [LIGHT, 'fits', /400 px/, style('h1{width:500px}')],
  [WITHOUT, 'reads', /something else/, style('table{display:none}')],
  [WITHOUT, 'reads', /something else/, style('svg text{visibility:hidden}')],
  [WITHOUT, 'reads', /button/, body('<button type="button">x</button>')],
  [LIGHT, 'sorts', /as it says/, script('for (const body of document.querySelectorAll("tbody")) body.append = () => {};')],
  [LIGHT, 'sorts', /as it says/, script(`
    const { setAttribute } = Element.prototype;
    const turned = { ascending: 'descending', descending: 'ascending' };
    Element.prototype.setAttribute = function (name, value) { setAttribute.call(this, name, name === 'aria-sort' ? turned[value] : value); };`)],
  [LIGHT, 'saves', /no JSON/, script('Blob = class extends Blob { constructor(parts, options) { super(["{"], options); } };')],
  [LIGHT, 'saves', /no CSV/, script('Blob = class extends Blob { constructor(parts, options) { super(["a"], options); } };')],
  [LIGHT, 'zooms', /different times/, script('[...document.querySelectorAll(".plot")].at(-1).setAttribute = () => {};')],
  [LIGHT, 'points', /does not show/, style('.hover{pointer-events:none}')],
  [LIGHT, 'policy', /fetches/, noPolicy],
  [LIGHT, 'policy', /runs/, page => page.replace(/script-src '[^']*'/, "script-src 'unsafe-inline'")],
  [DARK, 'prints', /dark paper/, style('@media print{body,svg{background:#222!important}}')],
  [DARK, 'prints', /heading/, style('@media print{h2{display:none}}')],
  [LIGHT, 'accessible', /color-contrast/, style('.quiet{color:#bbb}')],
  [LIGHT, 'accessible', /html-has-lang/, without(' lang="en"')],
  [LIGHT, 'accessible', /faint/, style('svg text{fill:#bbb}')],
  [LIGHT, 'valid', /no-dup-id/, body('<p id="x"></p><p id="x"></p>')],
  [LIGHT, 'valid', /close-order|no-implicit-close|unclosed/i, body('<div><span></div>')],
];

/** Makes each fault that is for this browser's setting, and tells which were not found. */
export async function selfTested(browser, file, folder, whole) {
  const here = FAULTS.filter(([setting]) => setting.dark === browser.setting.dark && setting.script === browser.setting.script);
  const page = await readFile(file, 'utf8');
  const faults = [];
  for (const [, check, said, change] of here) {
    const changed = change(page);
    if (changed === page) throw new Error(`the fault that ${check} is to find cannot be made: the page has no such place`);
    const faulty = join(folder, 'faulty.html');
    await writeFile(faulty, sealed(changed));
    const found = await run(check, browser, faulty, folder, whole.get(file));
    if (!found.some(fault => said.test(fault))) faults.push(`${check} has not found ${said}, but ${JSON.stringify(found)}`);
  }
  return { faults, tried: here.length };
}

async function run(check, browser, file, folder, whole) {
  if (check === 'valid') return valid(file);
  if (check === 'policy') return policy(browser, file, folder);
  const work = {
    quiet: async () => [],
    fits,
    reads: async page => reads(await seen(page, file), whole),
    sorts: async page => (await sorts(page)).faults,
    saves: async page => (await saves(page, browser.downloads, 2)).faults,
    zooms: async page => (await zooms(page)).faults,
    points: async page => (await points(page)).faults,
    prints: page => prints(page, folder),
    accessible,
  }[check];
  const { given, done } = await visit(browser, file, work);
  return check === 'quiet' ? done : given;
}

/** With a policy that allows the style and the script that the page has now. */
function sealed(page) {
  const sum = text => createHash('sha256').update(text).digest('base64');
  const last = (tag, text) => [...text.matchAll(new RegExp(`<${tag}>([^]*?)</${tag}>`, 'g'))].at(-1)?.[1] ?? '';
  return page
    .replace(/style-src 'sha256-[^']*'/, () => `style-src 'sha256-${sum(last('style', page))}'`)
    .replace(/script-src 'sha256-[^']*'/, () => `script-src 'sha256-${sum(last('script', page))}'`);
}
