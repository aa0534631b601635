// A page prints, in light colours whatever the theme is.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const DOTS_PER_INCH = 40;
const PAPER = 240;
const INK = 128;

export async function prints(page, folder) {
  const file = join(folder, 'page.pdf');
  await page.pdf({ path: file, printBackground: true });
  const faults = [];
  const text = run('pdftotext', [file, '-']).toString('utf8').replace(/\s+/g, ' ');
  for (const heading of await page.$$eval('h1, h2', headings => headings.map(heading => heading.textContent))) {
    if (!text.includes(heading)) faults.push(`does not print its heading ${heading}`);
  }
  const sheets = images(run('pdftoppm', ['-r', DOTS_PER_INCH, '-gray', file]));
  if (sheets.length === 0) faults.push('prints no sheet');
  sheets.forEach((dots, at) => {
    const paper = commonest(dots);
    if (paper < PAPER) faults.push(`prints on dark paper: sheet ${at + 1} of ${sheets.length}, of brightness ${paper}`);
  });
  if (sheets.length > 0 && !sheets[0].some(dot => dot < INK)) faults.push('prints text that is as light as paper');
  return faults;
}

// Most of a sheet is paper.
function commonest(dots) {
  const counts = new Array(256).fill(0);
  for (const dot of dots) counts[dot] += 1;
  return counts.indexOf(Math.max(...counts));
}

function run(program, arguments_) {
  const ran = spawnSync(program, arguments_.map(String), { maxBuffer: 256 << 20, timeout: 60_000 });
  if (ran.status !== 0) throw new Error(`${program} failed: ${ran.error ?? ran.stderr}`);
  return ran.stdout;
}

// One PGM after the other: "P5\nWIDTH HEIGHT\n255\n", and a byte for each dot.
function images(bytes) {
  const found = [];
  for (let at = 0; at < bytes.length; ) {
    const head = /^P5\s(\d+)\s(\d+)\s255\s/.exec(bytes.subarray(at, at + 64).toString('latin1'));
    if (!head) throw new Error('pdftoppm did not give pictures');
    const begin = at + head[0].length;
    at = begin + head[1] * head[2];
    found.push(bytes.subarray(begin, at));
  }
  return found;
}
